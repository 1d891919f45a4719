"""one Celery task per event, for comparison"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery
from redis import Redis

from trimtab_worker.embedded import EmbeddedServer

TASKS = 5_000

app = Celery("one_task_per_event", broker=os.environ.get("BENCH_BROKER"))
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=100, task_serializer="json")
_store: list[Redis] = []


@app.task(name="count")
def count(variant: str, converted: int) -> None:
    """What a task per event does at the least: one atomic increment."""
    if not _store:
        _store.append(Redis.from_url(os.environ["BENCH_STORE"]))
    _store[0].hincrby("cells", f"{variant}:{converted}", 1)


def measure() -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / "data") as data,
        EmbeddedServer(Path(folder) / "broker") as broker,
    ):
        return {"celery_tasks_per_second": _rate(data.url, broker.url)}


def _rate(store: str, broker: str) -> float:
    app.conf.broker_url = broker
    for place in range(TASKS):
        count.delay("b" if place % 2 else "control", int(place % 10 == 0))
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.celery_task", "worker", "-c", "1", "-l", "ERROR"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    environment = os.environ | {"BENCH_BROKER": broker, "BENCH_STORE": store}
    worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with Redis.from_url(store) as redis:
            return _watch(redis)
    finally:
        worker.terminate()
        worker.wait(20)


def _watch(redis: Redis) -> float:
    """Tasks per second, from the first to the last, so that the worker's start does not count."""
    started, first, deadline = None, 0, time.monotonic() + 120
    while time.monotonic() < deadline:
        done = sum(int(n) for n in redis.hvals("cells"))  # type: ignore[union-attr]
        if done and started is None:
            started, first = time.perf_counter(), done
        if done >= TASKS and started is not None:
            return (done - first) / (time.perf_counter() - started)
        time.sleep(0.002)
    raise TimeoutError(f"the worker counted {first} of {TASKS} events in two minutes")
