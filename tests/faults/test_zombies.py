"""EO-09, EO-10, EO-15, EO-18: workers that stand still, that meet, and a state that is not what it should be."""

from __future__ import annotations

import os
import signal

import pytest
import redis

from e2e.processes import status
from faults.processes import Crew, drain_without_lease, fold_and_stop_before_the_commit
from faults.reporting import Check
from logs import Log, event
from servers import wait_until
from trimtab.client.publisher import Publisher
from trimtab.errors import CorruptState
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.rebuild import rebuild

EVENTS = 100_000


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
