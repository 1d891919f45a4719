"""EO-19, RC-14: a log that a stranger trims, and how far behind it the fold is, on a real server."""

from __future__ import annotations

import random

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from faults.deciding import outcomes, published
from faults.reporting import Check
from logs import Log, event
from trimtab.errors import LogGap
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.metrics import M, Sources, measure
from trimtab_worker.services.reallocate import Reallocate

EVENTS = "trimtab:{p0}:events"
TURNS = 25


@pytest.fixture
def log(eager_log: Log) -> Log:
    return eager_log


def test_a_stranger_who_trims_the_log_is_noticed_by_the_next_drain_and_the_weights_hold(
    log: Log, redis_client: redis.Redis, check: Check
) -> None:
    """Whoever may XADD may say MAXLEN; b is better, so that every decision wants to move."""
    reallocate = Reallocate(log.publications, lambda _: log.store)
    outcomes(log)
    redis_client.xadd(EVENTS, {"event": "{}"}, maxlen=1, approximate=False)
    assert log.drain().dead == 1, "what was folded may go: nothing is missing"
    assert reallocate.recompute("checkout").outcome == "move"
    for _ in range(100):
        log.row(event(occurred_at=log.store.now()))
    redis_client.xadd(EVENTS, {"event": "{}"}, maxlen=1, approximate=False)
    before, folded = published(log).weights, log.store.load().counters["folded"]
    found_by = drains_until_noticed(log)
    decisions = [reallocate.recompute("checkout") for _ in range(3)]
    check("EO-19", "found by drain 1, 0 folded past it; 3 decisions: hold log_gap, weights as before",
          f"found by drain {found_by}, {log.store.load().counters['folded'] - folded} folded past it; "
          f"{len(decisions)} decisions: {' '.join({f'{d.outcome} {d.reasons[0].code}' for d in decisions})}, "
          f"weights {'as before' if published(log).weights == before else 'moved'}")  # fmt: skip


def drains_until_noticed(log: Log) -> int:
    for number in range(1, 10):
        try:
            log.drain()
        except LogGap:
            return number
    raise AssertionError("nobody noticed")


def test_the_lag_that_is_told_is_the_true_one(log: Log, check: Check) -> None:
    """In entries and in seconds, half folded and trimmed as it may be, where XINFO's own figure is wrong."""
    rng, fold, equal, most = random.Random(14), Ingest(log.store), 0, (0, 0.0)
    for _ in range(TURNS):
        for _ in range(rng.randrange(30)):
            log.row(event(occurred_at=log.store.now()))
        fold._count = rng.randrange(1, 40)
        if rng.random() < 0.6:
            fold.step(DrainReport(), None)
        if rng.random() < 0.3:
            log.store.trim(log.store.load().cursor.id)
        unread = log.store.read(log.store.load().cursor.id, 10_000)
        before, told, after = log.store.now(), measured(log), log.store.now()
        entries, seconds = told[M.LAG_ENTRIES], told[M.LAG_SECONDS]
        oldest = unread[0].milliseconds if unread else None
        true_seconds = oldest is not None and before - oldest <= round(seconds * 1000) <= after - oldest
        equal += entries == len(unread) and (true_seconds or (seconds == 0 and not unread))
        most = max(most, (len(unread), seconds))
    assert log.store.ends().removed > 0
    observed = f"{equal} of {TURNS} times equal, at most {most[0]} entries and {most[1]:.2f} s"
    check("RC-14", f"{TURNS} of {TURNS} times equal", observed, equal == TURNS and most[0] > 30)


def measured(log: Log) -> dict[M, float]:
    """The partition's metrics, as Prometheus reads them."""
    sources = Sources(log.publications, lambda _: log.store, server=dict, ages=dict)
    families = text_string_to_metric_families(measure(sources).text())
    found = {sample.name: sample.value for family in families for sample in family.samples}
    return {metric: found[metric.value.name] for metric in (M.LAG_ENTRIES, M.LAG_SECONDS)}
