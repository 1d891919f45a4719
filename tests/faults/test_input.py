"""IN-01, IN-02, IN-04, IN-05: what may arrive, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any

import redis

from faults.processes import Crew, drain_until_poisoned
from faults.reporting import Check
from logs import HOUR, Log, event
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.rebuild import rebuild

GOOD = 10_000


def good(log: Log, count: int, client: redis.Redis) -> None:
    """Good rows in one transaction, as a fast producer sends them."""
    row = json.dumps(event(variant="b", occurred_at=log.store.now()))
    with client.pipeline() as pipe:
        for _ in range(count):
            pipe.xadd("trimtab:{p0}:events", {"event": row})
        pipe.execute()


NO_ID: dict[str, Any] = {}
MALFORMED: dict[str, Any] = {
    "not JSON": b"{nope",
    "no id": NO_ID,
    "unknown variant": {"variant": "stranger"},
    "unknown experiment": {"experiment_id": "nowhere"},
    "bad version": {"v": 77},
    "negative": {"metrics": {"amount": -5}},
    "NaN": {"metrics": {"amount": float("nan")}},
    "inf": {"metrics": {"amount": float("inf")}},
    "1e308": {"metrics": {"converted": 1e308}},
    "string number": {"metrics": {"converted": "1"}},
    "bool": {"metrics": {"converted": True}},
    "depth 1000": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "1 MB": {"unit_id": "x" * 2**20},
    "NUL and invalid UTF-8": b'{"experiment_id":"check\x00\xff\xfe"}',
}


def test_malformed_entries_cost_themselves_and_no_other(log: Log, redis_client: redis.Redis, check: Check) -> None:
    now = log.store.now()
    for broken in MALFORMED.values():
        good(log, GOOD // len(MALFORMED), redis_client)
        row = event(occurred_at=now)
        if broken is NO_ID:
            del row["experiment_id"]
        log.row(broken if isinstance(broken, bytes) else row | broken)
    good(log, GOOD % len(MALFORMED), redis_client)
    log.drain()
    codes = log.dead_codes()
    observed = f"{log.cell('b').n:,} counted, {len(codes)} letters, all with a code"
    check("IN-01", "10,000 counted, 14 letters, all with a code", observed)


def test_an_entry_that_kills_its_reader_is_isolated(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    """SIGSEGV in a process each time; the next process halves."""
    good(log, GOOD // 2, redis_client)
    log.row(event(event_id="poison", occurred_at=log.store.now()))
    good(log, GOOD // 2, redis_client)
    deliveries = 0
    while log.store.load().cursor.id != log.store.ends().last_id:
        deliveries += 1
        assert deliveries <= 20, "the entry is not isolated"
        with Crew() as crew:
            crew.add(drain_until_poisoned, server.url)
            crew.wait()
    assert (log.cell("b").n, log.dead_codes()) == (GOOD, ["crashed"])
    assert rebuild(log.store, verify=True).identical
    check("IN-02", "≤ 12 deliveries, 1 letter, rest exact", f"{deliveries} deliveries, 1 letter, {GOOD:,} counted",
          deliveries <= 12)  # fmt: skip


def test_times_of_tomorrow_and_of_last_week_are_refused(log: Log, check: Check) -> None:
    now = log.store.now()
    log.row(event(occurred_at=now + 24 * HOUR))
    log.row(event(occurred_at=now - 72 * HOUR))
    log.drain()
    check("IN-04", (["future", "too_late"], 0), (log.dead_codes(), log.cell("b").n))


def test_schema_versions(log: Log, check: Check) -> None:
    """There is one version so far: without `v` it is meant, unknown fields of it are ignored, others are letters."""
    now = log.store.now()
    for version in ({}, {"v": 1}, {"v": 1, "invented_later": {"x": 1}}, {"v": 2}, {"v": 0}, {"v": -1}):
        log.row(event(occurred_at=now, **version))
    log.drain()
    check("IN-05", (3, ["schema_version"] * 3), (log.cell("b").n, log.dead_codes()))
