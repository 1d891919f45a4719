"""publish → folded, with a real Celery worker"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from logs import definition
from servers import wait_until
from trimtab import Control, Publisher
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab_worker.embedded import EmbeddedServer

RATE, SECONDS, WARM_UP_SECONDS = 10_000, 25, 2  # long enough for two drains to hand over to the next


def measure() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / "data") as data,
        EmbeddedServer(Path(folder) / "broker") as broker,
    ):
        environment = os.environ | {"REDIS_URL": data.url, "BROKER_URL": broker.url}
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "trimtab_worker.app", *arguments],
                env=environment,
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            for arguments in (
                ["worker", "-Q", "ingest", "-c", "1", "--without-gossip", "--without-mingle", "-n", "ingest@bench"],
                ["beat", "-s", f"{folder}/beat"],
            )
        ]
        try:
            return _latencies(data.url)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


def _latencies(url: str) -> dict[str, float]:
    """Milliseconds from `publish` to the commit that counts the event, at `RATE` events a second."""
    control = Control(url)
    control.create(definition())
    control.start("checkout")
    published = np.zeros(RATE * SECONDS)
    folded = np.zeros_like(published)
    with connect(url) as client:
        store = RedisPartition(client, 0)
        wait_until(lambda: store.drained_at() is not None, 60)  # the worker has started
        watcher = threading.Thread(target=_watch, args=(store, folded))
        with Publisher(url) as publisher:
            _publish(publisher, store, published, slice(0, 1))
            watcher.start()
            _publish(publisher, store, published, slice(1, len(published)))
        watcher.join()
    milliseconds = (folded - published)[RATE * WARM_UP_SECONDS :] * 1000
    return {
        "event_to_folded_p50_ms": float(np.quantile(milliseconds, .5)),
        "event_to_folded_p99_ms": float(np.quantile(milliseconds, .99)),
    }


def _publish(publisher: Publisher, store: RedisPartition, published: np.ndarray, which: slice) -> None:
    started, now = time.perf_counter(), store.now()
    for place in range(which.start, which.stop):
        ahead = (place - which.start) / RATE - (time.perf_counter() - started)
        if ahead > 0.001:
            time.sleep(ahead)
        instant = now + int((time.perf_counter() - started) * 1000)
        published[place] = time.perf_counter()
        publisher.publish(experiment_id="checkout", variant="b", epoch=1, occurred_at=instant, metrics={"converted": 1})


def _watch(store: RedisPartition, folded: np.ndarray) -> None:
    """Note when each event was first seen counted."""
    known, deadline = 0, time.monotonic() + 120
    while known < len(folded):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{known} of {len(folded)} events were folded")
        count = store.load().counters["folded"]
        folded[known:count] = time.perf_counter()
        known = count
        time.sleep(0.001)
