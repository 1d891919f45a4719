"""A partition on a real server, and what the measurements write to it."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from logs import Log, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest

BATCH = 10_000  # what the publisher puts into a full batch


def fastest(rate: Callable[[], float], runs: int = 3) -> float:
    """The best of some runs: whatever else a shared machine does only slows one down."""
    return max(rate() for _ in range(runs))


@contextmanager
def running_log(**changes: Any) -> Iterator[tuple[Log, EmbeddedServer]]:
    """A started experiment on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server, connect(server.url) as client:
        yield Log(RedisPartition(client, 0), RedisPublications(client), **changes), server


def fill_with_batches(log: Log, total: int, **columns: Callable[[int], list[str]]) -> int:
    """Write `total` events in full batches; `columns` make id columns from a batch's number. Returns their bytes."""
    rng, now, written = random.Random(1), log.store.now(), 0
    for number in range(total // BATCH):
        document = {
            "v": 1,
            "experiment_id": "checkout",
            "epoch": 1,
            "producer": "bench",
            "sequence": number + 1,
            "sent_at": now,
            "n": BATCH,
            "variants": ["b", "control"],
            "variant": rng.choices((0, 1), k=BATCH),
            "base": now,
            "offsets": sorted(rng.randrange(50) for _ in range(BATCH)),
            "metrics": {"converted": rng.choices((0, 1), weights=(9, 1), k=BATCH)},
            **{name: make(number) for name, make in columns.items()},
        }
        payload = json.dumps(document, separators=(",", ":")).encode()
        log.store.append("batch", payload)
        written += len(payload)
    return written


def fill_with_rows(log: Log, total: int) -> None:
    """Write `total` events one by one, each with an event id."""
    now = log.store.now()
    for place in range(total):
        log.row(event(event_id=f"event-{place}", unit_id=f"unit-{place}", occurred_at=now))


def drain_rate(log: Log, total: int) -> float:
    """Events per second from the log to committed statistics."""
    worker = Ingest(log.store)  # one, as in a worker process, which remembers from drain to drain
    started = time.perf_counter()
    folded = 0
    while folded < total:
        folded += worker.drain(holder="bench").folded
    elapsed = time.perf_counter() - started
    assert sum(log.state().trials.values()) == total, "a rate counts only if the count is exact"
    return total / elapsed
