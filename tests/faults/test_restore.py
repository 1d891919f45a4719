"""DP-13, EO-20: the data server comes back older, or its log is attacked; what is detected, and what sets it right."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from faults.reporting import Check
from logs import Log, event
from servers import wait_until
from trimtab import FlagClient
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.errors import LogGap
from trimtab.schema.allocation import Allocation
from trimtab.schema.decision import HoldCode, Outcome
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.accept_loss import accept_loss
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild

POLL_SECONDS = 0.2
LIMITS = {"min_trials": 10, "cooldown_seconds": 0, "max_step": 0.05, "min_weight": 0.05}


@pytest.fixture
def log(own_server: EmbeddedServer) -> Iterator[Log]:
    with connect(own_server.url) as client:
        publications = RedisPublications(client)
        publications.create_log(1)
        yield Log(RedisPartition(client, 0), publications, constraints=LIMITS)


def outcomes(log: Log, n: int, epoch: int = 1) -> None:
    """Outcomes that favour b, folded."""
    now = log.store.now()
    for number in range(n):
        variant = ("control", "b")[number % 2]
        won = int(number % 20 == 0 or variant == "b")
        log.row(event(variant=variant, epoch=epoch, occurred_at=now, metrics={"converted": won}))
    log.drain()


def decide(log: Log, times: int = 1) -> list[Outcome]:
    service = Reallocate(log.publications, lambda _: log.store)
    return [service.recompute("checkout").outcome for _ in range(times)]


def published(log: Log) -> Allocation:
    current = log.publications.read("checkout")
    assert current is not None
    assert current.allocation is not None
    return current.allocation


def bring_back(server: EmbeddedServer, copy: Path) -> None:
    """The server, with the data of a copy."""
    server.stop()
    shutil.rmtree(server.directory / "appendonlydir")
    shutil.copytree(copy, server.directory / "appendonlydir")
    server.start()


def test_an_older_copy_is_noticed_and_clients_follow_it(
    own_server: EmbeddedServer, log: Log, tmp_path: Path, check: Check
) -> None:
    outcomes(log, 400)
    decide(log, 2)
    copy = shutil.copytree(own_server.directory / "appendonlydir", tmp_path / "copy")
    decide(log, 4)
    old = published(log)
    with FlagClient(own_server.url, experiments=["checkout"], poll_seconds=POLL_SECONDS) as flags:
        held = wait_until(lambda: flags.allocation("checkout"), what="the client's first answer")
        assert held is not None
        assert held.revision == old.revision
        bring_back(own_server, copy)
        restored = published(log)
        assert restored.revision < held.revision
        log.store.report_drain()
        assert decide(log) == [Outcome.HOLD]
        now = published(log)
        wait_until(lambda: flags.allocation("checkout").incarnation != held.incarnation, what="weights after it")
        client = flags.allocation("checkout")
        assert client.revision < held.revision
    reasons = [reason.code for reason in log.publications.ledger("checkout", 1)[0].reasons]  # type: ignore[union-attr]
    held_as_restored = reasons == [HoldCode.RESTORED] and now.weights == restored.weights
    observed = (now.incarnation != restored.incarnation, held_as_restored)
    check("DP-13", "(new incarnation, weights held as restored): (True, True)",
          f"(new incarnation, weights held as restored): {observed}")  # fmt: skip
    assert client == now
    assert decide(log, 3)[-1] is Outcome.MOVE, "one held decision, and on it goes"


def test_no_epoch_number_is_given_out_twice_and_late_outcomes_of_lost_ones_count_nowhere(
    own_server: EmbeddedServer, log: Log, tmp_path: Path, check: Check
) -> None:
    """One copy comes back twice; each time the numbers go on above all that were served, whatever was lost."""
    outcomes(log, 400)
    decide(log)
    kept = [1, published(log).epoch]
    copy = shutil.copytree(own_server.directory / "appendonlydir", tmp_path / "copy")
    lost: list[int] = []
    for _ in range(2):
        began_at = log.store.now()
        for _ in range(2):
            decide(log)
            lost.append(published(log).epoch)
        wait_until(lambda then=began_at: log.store.now() >= then + 1000, what="the time that two epochs take")
        bring_back(own_server, copy)
        log.store.report_drain()
        assert decide(log) == [Outcome.HOLD]
    decide(log)
    now = [published(log).epoch]
    before = {key: n for key, n in log.state().trials.items() if n}
    for epoch in (*lost, *kept, *now):
        log.row(event(variant="b", epoch=epoch, occurred_at=log.store.now()))
    log.drain()
    counted = {epoch: n - before.get((epoch, "b"), 0) for (epoch, v), n in log.state().trials.items() if v == "b"}
    given = [*kept, *lost, *now]
    check(
        "DP-13",
        f"0 of {len(given)} epoch numbers twice; {len(lost)} outcomes of lost epochs refused",
        f"{len(given) - len(set(given))} of {len(given)} epoch numbers twice; "
        f"{len(log.dead_codes())} outcomes of lost epochs refused",
    )
    assert set(log.dead_codes()) == {"unknown_epoch"}
    assert counted == dict.fromkeys([*kept, *now], 1)


def test_a_restart_that_lost_nothing_costs_one_held_decision(own_server: EmbeddedServer, log: Log) -> None:
    outcomes(log, 400)
    assert decide(log, 2) == [Outcome.MOVE, Outcome.MOVE]
    before = published(log)
    own_server.kill()
    own_server.start()
    assert decide(log, 2) == [Outcome.HOLD, Outcome.MOVE]
    assert published(log).incarnation != before.incarnation
    assert published(log).revision == before.revision + 2
    assert published(log).epoch > before.epoch + 1, "its number may have been served, for all that the server knows"
    outcomes(log, 10, epoch=before.epoch)
    assert (log.dead_codes(), rebuild(log.store, verify=True).identical) == ([], True)


def test_an_order_after_a_restart_brings_the_new_incarnation_too(own_server: EmbeddedServer, log: Log) -> None:
    before = published(log)
    own_server.kill()
    own_server.start()
    log.control.halt("checkout", "b", reason="harm")
    after = published(log)
    assert after.incarnation != before.incarnation
    assert after.weights["b"] == 0


def test_the_largest_possible_entry_id_is_named_and_recovered_from_by_one_command(
    log: Log, own_client: redis.Redis, check: Check
) -> None:
    """Whoever may XADD may also use up the ids of the stream, so that no entry can follow."""
    outcomes(log, 100)
    most = 2**64 - 1
    log.row(event(variant="b", occurred_at=log.store.now()))
    own_client.xadd("trimtab:{p0}:events", {"event": "x"}, id=f"{most}-{most}")
    with pytest.raises(redis.ResponseError, match="exhausted"):
        own_client.xadd("trimtab:{p0}:events", {"event": "y"})
    with pytest.raises(LogGap, match="trimtab accept-loss 0"):
        log.drain()
    assert decide(log) == [Outcome.HOLD]
    accept_loss(log.store, "largest id")
    outcomes(log, 50)
    counters = log.store.load().counters
    check("EO-20", "named; after one command 151 of 151 counted, 1 letter",
          f"named; after one command {counters['folded']} of 151 counted, {counters['dead']} letter")  # fmt: skip
    assert rebuild(log.store, verify=True).identical
    assert log.drain().entries == 0
