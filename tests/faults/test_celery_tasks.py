"""EO-11, RC-11: messages delivered again while they are worked on, and very many of them, to watched workers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from e2e.processes import children, resident_mib
from faults.reporting import Check
from faults.sizes import FULL
from faults.watched import REDELIVERED, RUNS, SHORT, STALLED
from fleet import READY_SECONDS, Fleet, end
from servers import wait_until
from trimtab_worker.app import MAX_MEMORY_PER_CHILD_KIB

VISIBILITY_SECONDS = 1.0
DRAINS = 20_000 if FULL else 400
CHAINS, LOOK_EVERY = 10, 200
NAME = "watched"

Workers = list[subprocess.Popen[bytes]]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(
        tmp_path_factory.mktemp("watched-fleet"),
        TRIMTAB_DRAIN_PARK_SECONDS="0",
        **{SHORT: str(VISIBILITY_SECONDS)},
    )
    try:
        fleet.create(NAME, recompute_seconds=3600)
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module")
def workers(fleet: Fleet) -> Workers:
    """Two that take both queues, orders first: while one works, its message, once more, is there for the other."""
    workers = [fleet.launch("ingest", "-Q", "decide,ingest", app="faults.watched") for _ in range(2)]
    wait_until(lambda: all(children(worker.pid) for worker in workers), READY_SECONDS, what="two workers")
    return workers


def counted(fleet: Fleet, key: str, task: str) -> int:
    return int(fleet.client.hget(key, f"trimtab.{task}") or 0)


def deliver_twice(fleet: Fleet, task: str, *args: object) -> int:
    """Send a task that begins once it was delivered again, in both workers at once; returns how often it was."""
    before = counted(fleet, REDELIVERED, task)
    fleet.client.set(STALLED, f"trimtab.{task}")
    fleet.sender.send_task(f"trimtab.{task}", args=args)
    wait_until(lambda: counted(fleet, REDELIVERED, task) > before, 30, what="a redelivery")
    fleet.client.delete(STALLED)
    return counted(fleet, REDELIVERED, task) - before


@pytest.mark.parametrize("order", ["halt", "hold"])
def test_an_order_delivered_again_while_it_is_carried_out(
    order: str, fleet: Fleet, workers: Workers, check: Check
) -> None:
    redelivered = deliver_twice(fleet, order, NAME)

    def ends() -> int:
        said = fleet.log("ingest").read_text()
        return sum(line.count(f'"trimtab.{order}"') for line in said.splitlines() if line.startswith("{"))

    wait_until(lambda: ends() > redelivered, 30, what="the end of every delivery")
    ledger = fleet.services.publications.ledger(NAME, 100)
    acts = sum(entry.kind == "act" and entry.act == order for entry in ledger)
    check("EO-11", f"{order}: redelivered ≥ 1×, effect once", f"redelivered {redelivered}×, effect {acts}×", acts == 1)


def test_very_many_drains_leak_nothing(fleet: Fleet, workers: Workers, check: Check) -> None:
    """One worker does them all: each sends the next one, so a few chains are enough.

    They break where a new child needs longer to start than a nudge lasts; as everywhere, beat begins another.
    """
    worker, other = workers
    end(other)
    fleet.launch("beat")
    first, before, child = counted(fleet, RUNS, "drain"), resident_mib(worker.pid), 0.0
    for _ in range(CHAINS):
        fleet.sender.send_task("trimtab.drain", args=[0])
    for done in range(LOOK_EVERY, DRAINS + 1, LOOK_EVERY):
        wait_until(lambda done=done: counted(fleet, RUNS, "drain") - first >= done, 120, what="so many drains")
        child = max(child, *(resident_mib(pid) for pid in wait_until(lambda: children(worker.pid))))
    grown, limit = resident_mib(worker.pid) - before, MAX_MEMORY_PER_CHILD_KIB / 1024
    check("RC-11", f"{DRAINS:,} drains: parent grows ≤ 20 MiB, child ≤ {limit:.0f} MiB",
          f"parent {grown:+.1f} MiB, child {child:.0f} MiB", grown <= 20 and child <= limit)  # fmt: skip
