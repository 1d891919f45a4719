"""flag client"""

from __future__ import annotations

import threading
import time

import numpy as np

from benchmarks.system import fastest, running_log
from client_allocations import allocation
from logs import Log
from servers import wait_until
from trimtab import FlagClient
from trimtab.client.flags import FlagEvent
from trimtab.ports import Publication

CALLS = 1_000_000
PUBLICATIONS, PAUSE_SECONDS = 1000, 0.01


def measure() -> dict[str, float]:
    with running_log() as (log, server):
        with FlagClient(server.url, experiments=["checkout"]) as flags:
            units = [f"user-{place}" for place in range(CALLS)]
            figures = {
                "variant_calls_per_second": fastest(lambda: _one_by_one(flags, units)),
                "assignments_per_second": fastest(lambda: _all_at_once(flags, units)),
            }
        with FlagClient(server.url, experiments=["checkout"], poll_seconds=3600) as flags:
            return figures | _latencies(log, flags)


def _one_by_one(flags: FlagClient, units: list[str]) -> float:
    variant = flags.variant
    started = time.perf_counter()
    for unit in units:
        variant("checkout", unit)
    return len(units) / (time.perf_counter() - started)


def _all_at_once(flags: FlagClient, units: list[str]) -> float:
    started = time.perf_counter()
    flags.assignments("checkout", units)
    return len(units) / (time.perf_counter() - started)


def _latencies(log: Log, flags: FlagClient) -> dict[str, float]:
    """Milliseconds from before a publication to the client serving it; the notice alone brings it."""
    seen: dict[int | None, float] = {}
    arrived = threading.Event()

    def hear(event: FlagEvent) -> None:
        seen[event.revision] = time.perf_counter()
        arrived.set()

    started = log.control.show("checkout")
    wait_until(lambda: flags.counts.polls > 1)  # the subscription has begun
    flags.listen(hear)
    published = {}
    for revision in range(started.revision + 1, started.revision + 1 + PUBLICATIONS):
        sealed = allocation(revision, {"control": 0.5, "b": 0.5}, epoch=revision, incarnation=started.incarnation)
        arrived.clear()
        published[revision] = time.perf_counter()
        log.publications.publish(Publication(started.experiment, started.status, revision - 1, sealed))
        arrived.wait(5)
        time.sleep(PAUSE_SECONDS)
    milliseconds = np.array([seen[revision] - at for revision, at in published.items()]) * 1000
    return {
        "publish_to_client_p50_ms": float(np.percentile(milliseconds, 50)),
        "publish_to_client_p99_ms": float(np.percentile(milliseconds, 99)),
    }
