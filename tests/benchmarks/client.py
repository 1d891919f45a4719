"""flag client"""

from __future__ import annotations

import time

from benchmarks.system import running_log
from trimtab import FlagClient

CALLS = 1_000_000


def measure() -> dict[str, float]:
    with running_log() as (_, server), FlagClient(server.url, experiments=["checkout"]) as flags:
        units = [f"user-{place}" for place in range(CALLS)]
        variant = flags.variant
        started = time.perf_counter()
        for unit in units:
            variant("checkout", unit)
        return {"variant_calls_per_second": CALLS / (time.perf_counter() - started)}
