"""EO-09, EO-10, EO-15, EO-18: workers that stand still, that meet, and a state that is not what it should be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
import redis

from e2e.processes import status
from faults.processes import Crew, drain_without_lease, fold_and_stop_before_the_commit
from faults.reporting import Check
from logs import Log, batch, event
from servers import wait_until
from trimtab.client.publisher import Publisher
from trimtab.errors import CorruptState
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.rebuild import rebuild

EVENTS = 100_000
Damage = Callable[[redis.Redis], object]


def rows(log: Log, count: int) -> None:
    for _ in range(count):
        log.row(event(variant="b", occurred_at=log.store.now()))


def stopped(crew: Crew) -> int:
    """The pid of the crew's one member, once it stands still."""
    (pid,) = crew.pids
    wait_until(lambda: status(pid)[0] == "T", 30, what="a worker that stopped itself")
    return pid


def test_a_zombies_commit_is_refused(log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check) -> None:
    rows(log, 500)
    with Crew() as crew:
        crew.add(fold_and_stop_before_the_commit, server.url)
        zombie = stopped(crew)
        assert log.drain().folded == 500
        rows(log, 100)
        log.drain()
        os.kill(zombie, signal.SIGCONT)
        said = wait_until(lambda: redis_client.get("test:applied"), 10, what="the zombie's commit")
    check("EO-09", ("refused", 600), ("applied" if said == b"1" else "refused", log.cell("b").n))


def test_nothing_unread_is_trimmed_while_the_worker_stands_still(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    """However often and however greedily the upkeep comes by."""
    rows(log, 1000)
    log.drain()
    rows(log, 1000)
    with Crew() as crew:
        crew.add(fold_and_stop_before_the_commit, server.url)
        zombie = stopped(crew)
        rows(log, 1000)
        for _ in range(20):
            Maintain(log.store, 1000).run()
        unread = len(log.store.read(log.store.load().cursor.id, 10_000))
        assert log.store.ends().removed > 0, "what was read is trimmed"
        os.kill(zombie, signal.SIGCONT)
        wait_until(lambda: redis_client.get("test:applied"), 10, what="the zombie's commit")
    log.drain()
    check("EO-18", (2000, 3000), (unread, log.cell("b").n))


@pytest.mark.timeout(180)
def test_four_workers_without_a_lease_count_exactly(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    with Crew() as crew:
        for _ in range(4):
            crew.add(drain_without_lease, server.url)
        now = log.store.now()
        with Publisher(server.url, max_batch_events=100, linger_seconds=0.001) as publisher:
            for _ in range(EVENTS):
                publisher.publish(**event(variant="b", occurred_at=now))
            publisher.flush(120)
        wait_until(lambda: log.store.load().counters["folded"] >= EVENTS, 60, what="the fold of all")
    wasted = int(redis_client.get("test:races") or 0)
    check("EO-10", f"exactly {EVENTS:,}", f"{log.cell('b').n:,}; {wasted} commits wasted", log.cell("b").n == EVENTS)
    assert rebuild(log.store, verify=True).identical


KEY = "trimtab:{p0}:"


def of_a_wrong_type(name: str) -> Damage:
    def damage(client: redis.Redis) -> None:
        for key in client.keys(KEY + name):
            client.delete(key)
            client.set(key, "nonsense")

    return damage


DAMAGES: dict[str, Damage] = {
    **{f"{name} of a wrong type": of_a_wrong_type(name) for name in ("producers", "seen", "experiments", "dead")},
    "statistics of a wrong type": of_a_wrong_type("stats:checkout"),
    "marks of a wrong type": of_a_wrong_type("seen:*"),
    "size of letters of a wrong type": of_a_wrong_type("dead-size"),
    "no cursor": lambda client: client.delete(KEY + "cur"),
    "no place": lambda client: client.hdel(KEY + "cur", "id"),
    "a place that is none": lambda client: client.hset(KEY + "cur", "id", "here"),
    "a clock that is none": lambda client: client.hset(KEY + "cur", "clock", "noon"),
    "a counter that is none": lambda client: client.hset(KEY + "cur", "count:entries", "many"),
    "a producer that is none": lambda client: client.hset(KEY + "producers", "p", "one"),
    "a count of marks that is none": lambda client: client.hset(KEY + "seen", "checkout:h1", "some"),
    "no statistics": lambda client: client.delete(KEY + "stats:checkout"),
    "bytes that are no text": lambda client: client.hset(KEY + "stats:checkout", "status", b"\xff"),
    "fields that are none": lambda client: client.hset(KEY + "stats:checkout", "entered", "5"),
}


@pytest.mark.parametrize("start", ["0-0", "a snapshot"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_named_and_left_alone_until_one_command_rebuilds_it(
    damage: Damage, start: str, log: Log, redis_client: redis.Redis
) -> None:
    """Whatever of it is damaged: who is told to rebuild can, also where the log reaches back to a snapshot only."""
    now, kept = log.store.now(), {"producer": "p", "offsets": [0], "epoch": 1}

    def send(*numbers: int) -> None:
        for number in numbers:
            one = event(event_id=f"e{number}", occurred_at=now)
            log.columns(batch([one], sequence=number, base=now, sent_at=now, **kept))

    send(1, 2, 3)
    log.row(b"a letter")
    log.drain()
    if start == "a snapshot":
        assert Maintain(log.store, retention_bytes=1).trim()
        redis_client.xtrim(KEY + "events", minid=log.store.load().cursor.id, approximate=False)
    send(4, 5)
    log.drain()
    damage(redis_client)
    send(6)
    log.row(b"another letter")
    with pytest.raises(CorruptState, match="trimtab rebuild"):
        Ingest(log.store).drain(holder="worker")
    assert (rebuild(log.store, verify=False).from_snapshot == "0-0") is (start == "0-0")
    log.drain()
    send(5, 7)
    log.drain()
    assert log.cell("b").n == 7
    assert rebuild(log.store, verify=True).identical


@pytest.mark.parametrize("name", ["snapshot:cur", "snapshot:stats:checkout", "snapshot:experiments"])
def test_a_damaged_snapshot_is_not_rebuilt_from_and_the_next_trim_takes_another(
    name: str, log: Log, redis_client: redis.Redis
) -> None:
    rows(log, 10)
    log.drain()
    assert Maintain(log.store, retention_bytes=2 * log.store.load().counters["bytes"]).trim()
    of_a_wrong_type(name)(redis_client)
    assert rebuild(log.store, verify=True).identical, "the log still reaches back to its start"
    rows(log, 1000)
    log.drain()
    assert Maintain(log.store, retention_bytes=1000).trim()
    assert log.store.ends().removed > 0
    report = rebuild(log.store, verify=True)
    assert (report.identical, report.from_snapshot != "0-0") == (True, True)


@pytest.mark.parametrize("remembers", [True, False])
def test_a_state_of_a_wrong_type_is_left_alone_until_it_is_rebuilt(
    remembers: bool, log: Log, redis_client: redis.Redis, check: Check
) -> None:
    """By the worker that remembers what was there, and by one that reads it first."""
    rows(log, 100)
    worker = Ingest(log.store)
    worker.drain(holder="worker")
    rows(log, 50)
    key = "trimtab:{p0}:stats:checkout"
    redis_client.delete(key)
    redis_client.set(key, "nonsense")
    before = log.store.load()
    for _ in range(3):
        with pytest.raises(CorruptState, match="trimtab rebuild"):
            (worker if remembers else Ingest(log.store)).drain(holder="worker")
    assert log.store.load() == before, "nothing of it was applied"
    rebuild(log.store, verify=False)
    log.drain()
    check("EO-15", 150, log.cell("b").n)
