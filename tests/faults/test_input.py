"""IN-01, IN-02, IN-04, IN-05, SE-05, SE-07, SE-08: what may arrive, and what becomes of it."""

from __future__ import annotations

import json
import time
from typing import Any

import redis

from faults.processes import Crew, drain_until_poisoned
from faults.reporting import Check
from logs import HOUR, Log, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
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


def test_a_unit_that_floods_counts_once(server: EmbeddedServer, check: Check) -> None:
    with connect(server.url) as client:
        log = Log(RedisPartition(client, 0), RedisPublications(client), id="units", unit="unit")
        now = log.store.now()
        for number in range(10_000):
            row = event(experiment_id="units", unit_id="bot", event_id=f"e{number}", occurred_at=now)
            log.row(row)
        log.drain()
        check("SE-05", 1, log.cell("b").n)


KEY_ATTACKS = ["a}:x{", "*", "../", "x\r\nFLUSHALL\r\n", "x" * 10_240, "сheckout", "", "A", "a b", "trimtab:{p0}:cur"]


def test_ids_that_would_be_keys_change_no_key(log: Log, redis_client: redis.Redis, check: Check) -> None:
    log.row(event(variant="b", occurred_at=log.store.now()))
    log.drain()
    before = set(redis_client.keys("*"))
    for attack in KEY_ATTACKS:
        log.row(event(experiment_id=attack, occurred_at=log.store.now()))
        log.row(event(variant=attack, occurred_at=log.store.now()))
    log.drain()
    new = {key.decode() for key in set(redis_client.keys("*")) - before}
    letters = {"trimtab:{p0}:dead", "trimtab:{p0}:dead-size"}
    check("SE-07", (2 * len(KEY_ATTACKS), letters), (len(log.dead_codes()), new))
    assert log.cell("b").n == 1


def test_oversize_entries_are_refused_at_once(log: Log, check: Check) -> None:
    now = log.store.now()
    oversize = [
        event(unit_id="x" * 2**20, occurred_at=now),
        event(metrics={f"m{n}": 1 for n in range(10_000)}, occurred_at=now),
        {"a": "x" * 8_000, "b": "y" * 8_000},
    ]
    for document in oversize:
        log.row(document)
    log.row(b'{"a":' * 1000 + b"1" + b"}" * 1000)
    entries = log.store.read(log.store.load().cursor.id, 100)
    ingest = Ingest(log.store)
    started = time.process_time()
    ingest.drain(holder="worker")
    spent = (time.process_time() - started) * 1000 / len(entries)
    assert len(log.dead_codes()) == 4
    check("SE-08", "4 refused, < 5 ms each", f"4 refused, {spent:.1f} ms each", spent < 5)
