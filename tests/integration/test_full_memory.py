"""A full data server: events are refused, everything that relieves it works, and it recovers by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import redis

from faults.reporting import Check
from logs import Log, definition, event
from servers import wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.schema.decision import Outcome
from trimtab.schema.experiment import Status
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild

ROOM = 4 << 20
RETENTION = 1 << 20
PADDING = " " * 2000  # JSON allows it, and a server is full sooner
RECOVERY_SECONDS = 10


@pytest.fixture
def log(own_server: EmbeddedServer) -> Iterator[Log]:
    """A running experiment on a server of its own."""
    with connect(own_server.url) as client:
        yield Log(RedisPartition(client, 0), RedisPublications(client))


def fill(log: Log, client: redis.Redis, first: int = 0) -> int:
    """Leave the server little room, write until it refuses; returns the number of the event that it did not take.

    Afterwards nothing of us is loaded there, as if the workers came to a server they never saw.
    """
    client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM)
    number = first
    while takes(log, client, number):
        number += 1
    client.script_flush()
    return number


def takes(log: Log, client: redis.Redis, number: int) -> bool:
    """Whether the server takes another event."""
    try:
        publish(log, client, number)
    except redis.OutOfMemoryError:
        return False
    return True


def publish(log: Log, client: redis.Redis, number: int) -> None:
    """Write one event as a producer does."""
    variant = ("control", "b")[number % 2]
    document = event(variant=variant, unit_id=f"unit-{number}", event_id=f"e-{number}", occurred_at=log.store.now())
    client.xadd("trimtab:{p0}:events", {"event": json.dumps(document) + PADDING})


def relieve(log: Log) -> None:
    """What the ingest worker does all the time."""
    Ingest(log.store).drain(holder="worker")
    Maintain(log.store, RETENTION).run()


def test_a_full_server_is_relieved_and_loses_nothing(log: Log, own_client: redis.Redis, check: Check) -> None:
    """RC-05: after a backlog that filled it, a drain and a trim are enough; nobody need raise maxmemory."""
    taken = fill(log, own_client)
    assert taken > 1000
    full = own_client.info("memory")["used_memory"]
    assert Ingest(log.store).drain(holder="worker").folded == taken
    assert Maintain(log.store, RETENTION).trim()
    freed = full - own_client.info("memory")["used_memory"]
    assert freed > ROOM // 2
    publish(log, own_client, taken)
    assert log.drain().folded == 1
    counted = sum(log.state().trials.values())
    check("RC-05", "refused when full; drained and trimmed; lost 0",
          f"refused after {taken:,}, {freed >> 10:,} KiB freed, lost {taken + 1 - counted}",
          counted == taken + 1)  # fmt: skip
    assert rebuild(log.store, verify=True).identical


def test_producers_get_through_again_by_themselves(log: Log, own_client: redis.Redis, check: Check) -> None:
    """Filled twice, with the worker at it: each time within seconds, each event counted once."""
    total, took = 0, 0.0
    for _ in range(2):
        total = fill(log, own_client, total)
        full_at = time.monotonic()

        def gets_through(number: int = total) -> bool:
            relieve(log)
            return takes(log, own_client, number)

        wait_until(gets_through, 3 * RECOVERY_SECONDS, what="a producer's event")
        took = max(took, time.monotonic() - full_at)
        total += 1
    relieve(log)
    assert log.store.load().counters["folded"] == total
    assert log.dead_codes() == []
    check("RC-05", f"recovers by itself ≤ {RECOVERY_SECONDS} s", f"{took:.2f} s", took <= RECOVERY_SECONDS)


def test_decisions_and_orders_work_on_a_full_server(log: Log, own_client: redis.Redis, check: Check) -> None:
    stay_full(own_client)
    reallocate = Reallocate(log.publications, lambda _: log.store)
    assert reallocate.due(log.store.now()) == ["checkout"]
    assert reallocate.due(log.store.now()) == []
    before = log.control.show("checkout").revision
    decision = reallocate.recompute("checkout")
    assert decision.outcome in Outcome
    assert log.control.show("checkout").revision == before + 1
    log.control.halt("checkout", "b", reason="it harms")
    log.control.hold("checkout", reason="while we look")
    log.control.resume("checkout")
    log.control.stop("checkout")
    stopped = log.control.show("checkout")
    assert (stopped.status, stopped.revision) == (Status.STOPPED, before + 5)
    with pytest.raises(redis.OutOfMemoryError):
        publish(log, own_client, 0)
    published = stopped.revision - before
    check("RC-05", "on a full server: 1 decision and 4 orders published", f"{published} published", published == 5)


def test_a_worker_that_comes_to_a_full_server_starts(log: Log, own_client: redis.Redis) -> None:
    """It writes what a first drain writes: the lease, its report, the state's first fields."""
    stay_full(own_client)
    assert log.store.load().cursor.id == "0-0"
    assert log.store.take_lease("worker", 5)
    assert not log.store.take_lease("another", 5)
    log.store.report_drain()
    assert log.drain().busy
    log.store.leave_lease("worker")
    assert log.drain().entries == log.store.ends().length
    assert log.store.append("control", b"{}")
    with pytest.raises(redis.OutOfMemoryError):
        log.store.append("event", b"{}")


def test_upkeep_of_a_full_server_tells_a_quiet_log_the_time(log: Log, own_client: redis.Redis) -> None:
    log.drain()
    state = log.store.load()
    own_client.hset("trimtab:{p0}:cur", "clock", state.clock - 3 * 86_400_000)
    stay_full(own_client)
    Maintain(log.store, RETENTION).tick_clock()
    assert log.drain().entries == 1


def test_a_new_experiment_is_refused_whole(log: Log, own_client: redis.Redis) -> None:
    """Creating is nobody's relief: it is refused before anything of it is written."""
    stay_full(own_client)
    with pytest.raises(redis.OutOfMemoryError):
        log.control.create(definition(id="another"))
    assert log.publications.experiments() == ["checkout"]
    assert log.publications.read("another") is None


def stay_full(client: redis.Redis) -> None:
    """Make the server one that never saw us, and full whatever is done about it."""
    client.config_set("maxmemory", 1)
    client.script_flush()
