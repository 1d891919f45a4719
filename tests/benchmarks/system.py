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

from logs import NOW, Log, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.schema.control import CONTROL_KEY
from trimtab.schema.event import EVENT_FIELD
from trimtab.schema.keys import PartitionKeys
from trimtab.schema.signing import NO_KEYS, Keyring
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.signing import require

BATCH = 10_000  # what the publisher puts into a full batch
ROWS_AT_ONCE = 1000
VARIANTS = ("b", "control")
RING = Keyring((b"a secret that only measurements use",))


def fastest(rate: Callable[[], float], runs: int = 3) -> float:
    """The best of some runs: whatever else a shared machine does only slows one down."""
    return max(rate() for _ in range(runs))


@contextmanager
def running_log(*, signed: bool = False, **changes: Any) -> Iterator[tuple[Log, EmbeddedServer]]:
    """A started experiment on a server of its own; `signed`, its log takes signed entries only."""
    keyring = RING if signed else NO_KEYS
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as server, connect(server.url) as client:
        log = Log(RedisPartition(client, 0, keyring=keyring), RedisPublications(client), **changes)
        if signed:
            require([log.store], RING, required=True)
        yield log, server


def fill_with_batches(log: Log, total: int, ids: str = "", *, tokens: bool = False) -> None:
    """Write `total` events in full batches, with a column of ids if one is named."""
    rng, now = random.Random(1), log.store.now()
    for number in range(total // BATCH):
        variant = rng.choices((0, 1), k=BATCH)
        names = [f"{ids}-{number * BATCH + place}" for place in range(BATCH)] if ids else []
        columns = {ids: names} if ids else {}
        if tokens:
            columns["token"] = [_token(VARIANTS[v], name) for v, name in zip(variant, names, strict=True)]
        document = {
            "v": 1,
            "experiment_id": "checkout",
            "epoch": 1,
            "producer": "bench",
            "sequence": number + 1,
            "sent_at": now,
            "n": BATCH,
            "variants": VARIANTS,
            "variant": variant,
            "base": now,
            "offsets": sorted(rng.randrange(50) for _ in range(BATCH)),
            "metrics": {"converted": rng.choices((0, 1), weights=(9, 1), k=BATCH)},
            **columns,
        }
        log.store.append("batch", json.dumps(document, separators=(",", ":")).encode())


def fill_with_rows(log: Log, server: EmbeddedServer, total: int) -> None:
    """Write `total` events one by one, each with an event id, as many producers at once would."""
    now, stream = log.store.now(), PartitionKeys(0).events
    with connect(server.url) as client:
        for first in range(0, total, ROWS_AT_ONCE):
            pipe = client.pipeline(transaction=False)
            for place in range(first, first + ROWS_AT_ONCE):
                row = json.dumps(event(event_id=f"event-{place}", unit_id=f"unit-{place}", occurred_at=now)).encode()
                pipe.xadd(stream, {EVENT_FIELD: row, **log.store.keyring.sign(EVENT_FIELD, row)})
            pipe.execute()


def _token(variant: str, unit_id: str) -> str:
    return RING.key(CONTROL_KEY).token("checkout", variant, 1, unit_id, NOW)


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
