"""EO-02, EO-03: Celery workers killed, whole or in a child, while outcomes and nudges flow.

Two ingest workers and beat, started again at once as Docker would, behind a proxy that sees them commit.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Self

import pytest

from e2e.processes import alive, children, status
from faults.proxy import Proxy
from faults.reporting import Check
from faults.sizes import FULL
from fleet import READY_SECONDS, Fleet, end
from servers import wait_until
from trimtab import Publisher
from trimtab.adapters.redis.scripts import source
from trimtab.clock import system_clock
from trimtab.schema import keys
from trimtab.settings import Periods
from trimtab_worker.services.rebuild import rebuild

GROUP_KILLS = 12 if FULL else 4
CHILDREN = 5  # of each worker: Celery may take five seconds to miss one
CHILD_KILLS = 2 * CHILDREN
NAME = "killing"
LEASE = keys.PartitionKeys(0).lease
COMMIT = hashlib.sha1(source("commit").encode()).hexdigest().encode()  # what EVALSHA names
REVIVE_SECONDS = Periods().revive_seconds  # production's: the promise is in beat periods
EVENTS_AT_ONCE, PAUSE_SECONDS = 50, 0.05

pytestmark = pytest.mark.timeout(300)


class Traffic:
    """A producer that goes on whatever happens until it is told to end, and knows what it sent."""

    def __init__(self, url: str) -> None:
        self.expected: Counter[tuple[str, str]] = Counter()
        self._url = url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="traffic")

    @property
    def sent(self) -> int:
        return sum(n for (_, what), n in self.expected.items() if what == "n")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _publish(self) -> None:
        rng = random.Random(7)
        with Publisher(self._url, max_batch_events=EVENTS_AT_ONCE) as publisher:
            while not self._ending.wait(PAUSE_SECONDS):
                for _ in range(EVENTS_AT_ONCE):
                    variant, won = rng.choice("ab"), rng.random() < 0.3
                    publisher.publish(
                        experiment_id=NAME,
                        variant=variant,
                        unit_id=uuid.uuid4().hex,
                        epoch=1,
                        metrics={"bought": int(won)},
                        occurred_at=system_clock(),
                    )
                    self.expected[variant, "n"] += 1
                    self.expected[variant, "won"] += won


class Workers:
    """A fleet whose ingest workers are two, and the outcomes sent to it."""

    def __init__(self, fleet: Fleet, proxy: Proxy) -> None:
        self.fleet, self.proxy = fleet, proxy
        self.parents: list[subprocess.Popen[bytes]] = []
        self.expected: Counter[tuple[str, str]] = Counter()

    def drains(self) -> int:
        """The pid of the child that drains, as the lease has it; 0 if it is dead, or there is none."""
        pid = self._holder()
        return alive(pid) if status(pid)[1] in [parent.pid for parent in self.parents] else 0

    def _holder(self) -> int:
        lease = self.fleet.client.get(LEASE) or b"/0"
        return int(lease.split(b"/")[1])

    def ready(self) -> bool:
        """Whether every worker has all its children: then it has imported everything, and takes nudges."""
        return all(len(children(parent.pid)) == CHILDREN for parent in self.parents)

    def launch(self) -> None:
        self.parents.append(self.fleet.launch("ingest", "-c", str(CHILDREN)))

    def nudge(self, dead: int) -> None:
        """What beat does seconds later; the lease of the dead, an economy, is taken away instead of waited for."""
        if self._holder() == dead:
            self.fleet.client.delete(LEASE)
        self.fleet.sender.send_task("trimtab.drain", args=[0])

    def wait_for_the_fold(self) -> None:
        total = sum(n for (_, what), n in self.expected.items() if what == "n")
        wait_until(lambda: self.fleet.folded() >= total, 60, what="the fold of all")

    def lost_and_double(self) -> tuple[int, int]:
        """Outcomes that are missing and that are too many, over variants and what is counted of them."""
        state = self.fleet.services.partition(0).load_experiments([NAME])[NAME]
        assert state is not None
        found = Counter({(variant, "n"): n for (_, variant), n in state.trials.items()})
        found += Counter({(variant, "won"): cell.total for (_, variant, _), cell in state.cells.items()})
        lost, double = self.expected - found, found - self.expected
        store = self.fleet.services.partition(0)
        assert store.dead_letters(1) == [], "no entry was taken for one that kills its readers"
        assert rebuild(store, verify=True).identical
        return sum(lost.values()), sum(double.values())


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    fleet = Fleet(tmp_path_factory.mktemp("killed-fleet"), TRIMTAB_PERIODS__REVIVE_SECONDS=str(REVIVE_SECONDS))
    with Proxy(fleet.data.url) as proxy:
        try:
            fleet.redis_url = proxy.url
            fleet.create(NAME)
            workers = Workers(fleet, proxy)
            workers.launch()
            workers.launch()
            fleet.launch("beat")
            wait_until(workers.ready, READY_SECONDS, what="two workers")
            with Traffic(fleet.data.url) as traffic:
                wait_until(fleet.folded, READY_SECONDS, what="a commit")  # from here on the server knows its script
            workers.expected += traffic.expected
            yield workers
        finally:
            fleet.close()


def test_children_killed_in_mid_commit(workers: Workers, check: Check) -> None:
    """In turn before the server has the commit, and after it, the answer still on its way."""
    killed: list[int] = []
    cursors: list[str] = []
    store = workers.fleet.services.partition(0)

    def passes(chunk: bytes) -> bool:
        pid = workers.drains() if COMMIT in chunk and len(killed) < CHILD_KILLS else 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            cursors.append(store.load().cursor.id)
            killed.append(pid)
        return not pid or len(killed) % 2 == 0

    workers.proxy.passes = passes
    with Traffic(workers.fleet.data.url) as traffic:
        for turn in range(CHILD_KILLS):
            wait_until(lambda turn=turn: len(killed) > turn, 30, what="a commit to kill in")
            if turn % 2:
                wait_until(lambda: store.load().cursor.id != cursors[-1], what="the commit of the dead")
            workers.nudge(killed[turn])
    workers.expected += traffic.expected
    workers.wait_for_the_fold()
    lost, double = workers.lost_and_double()
    wait_until(workers.ready, 30, what="new children")
    there = sum(parent.poll() is None for parent in workers.parents)
    check(
        "EO-03", f"{CHILD_KILLS}×: lost 0, double 0, both workers alive with new children",
        f"{len(set(killed))}×: lost {lost}, double {double} of {traffic.sent:,}, {there} alive",
        (len(set(killed)), lost, double, there) == (CHILD_KILLS, 0, 0, 2),
    )  # fmt: skip


def test_workers_killed_with_their_children(workers: Workers, check: Check) -> None:
    """Each time the one that drains. After the last kill nobody helps: the dead one's lease ends, and beat revives."""
    with Traffic(workers.fleet.data.url) as traffic:
        for turn in range(GROUP_KILLS):
            last = turn == GROUP_KILLS - 1
            if last:
                wait_until(workers.ready, READY_SECONDS, what="two workers")
            pid = wait_until(workers.drains, READY_SECONDS, what="a drain")
            (victim,) = (parent for parent in workers.parents if parent.pid == status(pid)[1])
            end(victim)
            workers.parents.remove(victim)
            workers.launch()
            if not last:
                workers.nudge(pid)
    killed_at = time.monotonic()
    workers.expected += traffic.expected
    workers.wait_for_the_fold()
    took = time.monotonic() - killed_at
    lost, double = workers.lost_and_double()
    check(
        "EO-02", f"{GROUP_KILLS}×: lost 0, double 0, drained ≤ {2 * REVIVE_SECONDS:g} s after the last",
        f"lost {lost}, double {double} of {traffic.sent:,}, {took:.1f} s",
        (lost, double) == (0, 0) and took <= 2 * REVIVE_SECONDS,
    )  # fmt: skip
