"""RC-01 to 03, RC-07 to 09, RC-12, RC-13: workers and beats in floods, and while their broker fails in every way.

One fleet lives through all of it, its broker behind a proxy. `TRIMTAB_FAULTS=full` takes the sizes of the table;
otherwise faults are fewer and shorter.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from pydantic import SecretStr

from e2e.processes import children, resident_mib
from faults.proxy import Proxy
from faults.reporting import Check
from faults.sizes import FULL
from fleet import FAST, HEARTBEAT_SECONDS, READY_SECONDS, STOP_SECONDS, Fleet, end
from servers import plain_client, wait_until
from trimtab.clock import system_clock
from trimtab.schema import keys
from trimtab_worker import health
from trimtab_worker.app import MAX_MEMORY_PER_CHILD_KIB, celery_settings
from trimtab_worker.embedded import DATA_MAXMEMORY_BYTES

BROKER_KILLS = 6 if FULL else 3
STALL_SECONDS = 15 if FULL else 6
WARM_ENDS = 10 if FULL else 2
SLOTS = 60 if FULL else 8
BACKLOG_TICKS = 20
FLOOD = 1_000_000 if FULL else 100_000  # events, each in an entry of its own
FLOOD_AT_ONCE = 5_000
NAME = "faults"
PERIOD_SECONDS = 1  # of recomputes
EVENTS = keys.PartitionKeys(0).events
ROW = f'{{"experiment_id":"{NAME}","epoch":1,"variant":"%s","unit_id":"%s","occurred_at":%d,"metrics":{{"bought":%d}}}}'
PARK_SECONDS = float(FAST["TRIMTAB_DRAIN_PARK_SECONDS"])
TICK_SECONDS = float(FAST["TRIMTAB_PERIODS__TICK_SECONDS"])

pytestmark = pytest.mark.timeout(300)


class Living:
    """A fleet with its proxy, its processes by role, and how many outcomes it was sent."""

    def __init__(self, fleet: Fleet, proxy: Proxy) -> None:
        self.fleet, self.proxy = fleet, proxy
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.sent = 0

    def works(self, seconds: float) -> float:
        """Seconds from now until outcomes are folded and decided on, however long the drain at work goes on without us.

        So three times, further apart than one drain lasts: the later ones were nudged anew.
        """
        started = time.monotonic()
        for turn in range(3):
            wait_until(lambda turn=turn: time.monotonic() > started + turn * 1.5 * PARK_SECONDS)
            revision = self.fleet.control.show(NAME).revision
            self.publish(10)
            wait_until(lambda: self.fleet.folded() == self.sent, seconds, what="the fold after a fault")
            wait_until(lambda r=revision: self.fleet.control.show(NAME).revision > r, seconds, what="a decision")
        return time.monotonic() - started

    def publish(self, count: int) -> None:
        self.fleet.publish(NAME, count)
        self.sent += count


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    fleet = Fleet(tmp_path_factory.mktemp("faulty-fleet"))
    with Proxy(fleet.broker.url) as proxy:
        try:
            fleet.broker_url = proxy.url
            fleet.create(NAME)
            living = Living(fleet, proxy)
            living.processes = fleet.start("ingest", "decide", "beat")
            living.works(READY_SECONDS)
            yield living
        finally:
            fleet.close()


def test_two_beats_cost_nothing(living: Living, check: Check) -> None:
    other = living.fleet.launch("beat")
    before, started = living.fleet.control.show(NAME).revision, time.monotonic()
    ledger = living.fleet.services.publications.ledger
    wait_until(lambda: living.fleet.control.show(NAME).revision >= before + SLOTS, 3 * SLOTS + 20, what="decisions")
    published, seconds = living.fleet.control.show(NAME).revision - before, time.monotonic() - started
    end(other)
    counted = 1 + sum(getattr(entry, "count", 1) for entry in ledger(NAME, 10_000))
    assert counted == living.fleet.control.show(NAME).revision, "every revision is in the ledger"
    check("RC-07", "gapless, ≤ 1 publication a slot of 1 s", f"{published} publications in {seconds:.1f} s, gapless",
          published <= seconds + 2)  # fmt: skip


def test_without_beat_drains_recompute_and_the_silence_is_told(living: Living, check: Check) -> None:
    """Nobody ticks, so the decide worker has nothing to do: what is overdue, the ingest worker decides itself."""
    end(living.processes["beat"])
    killed_at, said = time.monotonic(), len(living.fleet.log("ingest").read_text())

    def silence_is_told() -> bool:
        return 'trimtab_alive{role="beat"} 0.0' in living.fleet.services.metrics().text()

    wait_until(silence_is_told, 10, what="a metric that says beat is dead")
    told = time.monotonic() - killed_at
    log = living.fleet.log("ingest")
    wait_until(lambda: log.read_text()[said:].count('"decided"') >= 2, 30, what="decisions of the ingest worker")
    decided = log.read_text()[said:].count('"decided"')
    assert not health.alive(living.fleet.client, "beat"), "the doctor asks this"
    living.processes |= living.fleet.start("beat")
    # The key is there for three periods from the last sign of life, which may have been on its way.
    check("RC-08", f"told ≤ {health.MISSED_BEATS} periods of {HEARTBEAT_SECONDS:g} s, the drain recomputes",
          f"told after {told:.1f} s, {decided} decisions by drains",
          told <= (health.MISSED_BEATS + 0.5) * HEARTBEAT_SECONDS and decided >= 2)  # fmt: skip


def test_a_flood_delays_no_decision(living: Living, check: Check) -> None:
    """All at once, as rows, which fold most slowly: the fold has a queue and a worker of its own."""
    made, ending = [], threading.Event()

    def watch() -> None:
        while not ending.wait(0.02):
            allocation = living.fleet.control.show(NAME).allocation
            if allocation and allocation.computed_at not in made[-1:]:
                made.append(allocation.computed_at)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with plain_client(living.fleet.data.url) as data:
            flood(data, FLOOD)
            living.sent += FLOOD
            wait_until(lambda: living.fleet.folded() == living.sent, 240, what="the fold of the flood")
            memory = data.info("memory")["used_memory_peak"]
    finally:
        ending.set()
        watcher.join()
    late = sorted((later - earlier) / 1000 - PERIOD_SECONDS for earlier, later in itertools.pairwise(made))
    p99 = late[int(0.99 * len(late))]
    (child,) = children(living.processes["ingest"].pid)
    held, limit = resident_mib(child), MAX_MEMORY_PER_CHILD_KIB / 1024
    check("RC-13",
          f"{FLOOD:,} events: decisions late p99 ≤ {2 * PERIOD_SECONDS} s, server ≤ {DATA_MAXMEMORY_BYTES >> 20} MiB, "
          f"child ≤ {limit:.0f} MiB", f"{p99:.2f} s of {len(late)} decisions, {memory >> 20} MiB, {held:.0f} MiB",
          p99 <= 2 * PERIOD_SECONDS and memory <= DATA_MAXMEMORY_BYTES and held <= limit)  # fmt: skip


def flood(data: redis.Redis, events: int) -> None:
    now = system_clock()
    for first in range(0, events, FLOOD_AT_ONCE):
        with data.pipeline(transaction=False) as pipe:
            for number in range(first, first + FLOOD_AT_ONCE):
                pipe.xadd(EVENTS, {"event": ROW % ("ab"[number % 2], uuid.uuid4().hex, now, number % 2)})
            pipe.execute()


def test_a_broker_that_is_killed_again_and_again(living: Living, check: Check) -> None:
    took = []
    for turn in range(BROKER_KILLS):
        living.fleet.broker.kill()
        down = time.monotonic() + (0.2, 1.0, 3.0)[turn % 3]
        wait_until(lambda down=down: time.monotonic() > down)
        living.fleet.broker.start()
        took.append(living.works(20))
    check("RC-01", f"resumes ≤ 10 s, {BROKER_KILLS}/{BROKER_KILLS}", f"at most {max(took):.1f} s", max(took) <= 10)


def test_a_broker_that_stands_still(living: Living, check: Check) -> None:
    pid = living.fleet.broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        until = time.monotonic() + STALL_SECONDS
        wait_until(lambda: time.monotonic() > until, STALL_SECONDS + 5)
    finally:
        os.kill(pid, signal.SIGCONT)
    took = living.works(20)
    mutex = mutex_milliseconds(living.fleet.broker.url)
    check("RC-02", f"stopped {STALL_SECONDS} s: resumes ≤ 5 s, mutex ≤ 10 s", f"{took:.1f} s, mutex for {mutex} ms",
          took <= 5 and 0 < mutex <= 10_000)  # fmt: skip


def mutex_milliseconds(url: str) -> int:
    """How long the broker is told to keep a worker's mutex when that looks for messages of the dead, every 5 s."""
    deadline = time.monotonic() + 30
    with plain_client(url) as broker, broker.monitor() as monitor:
        while time.monotonic() < deadline:
            command = monitor.next_command()["command"].split()
            if command[0] == "SET" and "unacked_mutex" in command[1]:
                return int(command[command.index("PX") + 1])
    return 0


def test_a_broker_that_swallows_bytes(living: Living, check: Check) -> None:
    """Connections stay open and nothing comes back, as behind a firewall that forgot them."""
    settings = living.fleet.settings.model_copy(update={"broker_url": SecretStr(living.proxy.url)})
    with Celery("half-open", set_as_current=False) as sender:
        sender.conf.update(celery_settings(settings))
        sender.send_task("trimtab.heartbeat")
        living.proxy.swallows = True
        started = time.monotonic()
        with pytest.raises((OperationalError, OSError)):
            sender.send_task("trimtab.heartbeat")
        failed = time.monotonic() - started
        until = started + 12
        wait_until(lambda: time.monotonic() > until, 15)
        living.proxy.swallows = False
    back = living.works(60)
    check("RC-03", "a send fails ≤ 10 s, the worker is back ≤ 30 s", f"{failed:.1f} s, {back:.1f} s",
          failed <= 10.5 and back <= 30)  # fmt: skip


def test_a_backlog_of_ticks_evaporates(living: Living, check: Check) -> None:
    """Nobody takes them for twenty periods; what the ingest worker decides meanwhile is its own."""
    end(living.processes["decide"])
    until = time.monotonic() + BACKLOG_TICKS * TICK_SECONDS
    wait_until(lambda: time.monotonic() > until, 60)
    log = living.fleet.log("decide")
    said = len(log.read_text())
    started = time.monotonic()
    living.processes |= living.fleet.start("decide")
    wait_until(lambda: '"decided"' in log.read_text()[said:] or time.monotonic() - started > 30, 40)
    ready_for = time.monotonic() - started
    decided = log.read_text()[said:].count('"decided"')
    check("RC-09", "≤ 2 recomputes", f"{decided} after {BACKLOG_TICKS} ticks nobody took ({ready_for:.0f} s to start)",
          1 <= decided <= 2)  # fmt: skip


def test_a_worker_asked_to_end_under_load_ends_in_order(living: Living, check: Check) -> None:
    took = []
    for _ in range(WARM_ENDS):
        worker = living.processes["ingest"]
        living.publish(2000)
        started = time.monotonic()
        worker.terminate()
        assert worker.wait(STOP_SECONDS + 10) == 0
        took.append(time.monotonic() - started)
        assert not health.alive(living.fleet.client, f"ingest@{os.uname().nodename}")
        living.processes |= living.fleet.start("ingest")
        living.works(30)
    counters = living.fleet.services.partition(0).load().counters
    assert (counters["folded"], counters["dead"]) == (living.sent, 0)
    check("RC-12", f"exit ≤ 20 s, {WARM_ENDS}×, lost 0, double 0", f"at most {max(took):.1f} s, lost 0, double 0",
          max(took) <= STOP_SECONDS)  # fmt: skip
