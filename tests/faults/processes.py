"""Processes to be killed: drains and recomputes without Celery, started in milliseconds, ended by their process ids."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Self

import structlog

from trimtab.adapters.redis.connection import UNREACHABLE, connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.errors import Conflict
from trimtab.fold import Commit, Entry, decode
from trimtab.fold.decode import Reading
from trimtab_worker.services import ingest as ingest_service
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate

# One server process imports everything once and forks the others: a worker is there in some milliseconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.processes"])
BETWEEN_ATTEMPTS_SECONDS = 0.02
RETENTION_BYTES = 4 << 20


def drain_for_ever(url: str, retention_bytes: int = RETENTION_BYTES) -> None:
    """What an ingest worker does: drains, then upkeep, through whatever happens to the connection."""
    _quiet()
    with connect(url) as client:
        ingest = Ingest(RedisPartition(client, 0))

        def work() -> None:
            ingest.drain(holder=str(os.getpid()), park_seconds=0.2, block_ms=100)
            Maintain(ingest.store, retention_bytes).run()

        _for_ever(work)


def drain_without_lease(url: str) -> None:
    """Read, fold and commit beside everybody else who does; counts its lost races in `test:races`."""
    _quiet()
    with connect(url) as client:
        ingest = Ingest(RedisPartition(client, 0))

        def work() -> None:
            report = DrainReport()
            ingest.step(report, 100)
            if report.lost_races:
                client.incr("test:races", report.lost_races)

        _for_ever(work)


def fold_and_stop_before_the_commit(url: str) -> None:
    """A worker that stands still between read and commit, goes on when told, and leaves in `test:applied` what came."""
    _quiet()
    with connect(url) as client:
        store = RedisPartition(client, 0)
        commit = store.commit

        def late(what: Commit) -> bool:
            os.kill(os.getpid(), signal.SIGSTOP)
            applied = commit(what)
            client.set("test:applied", int(applied))
            return applied

        store.commit = late  # type: ignore[method-assign]
        Ingest(store).step(DrainReport(), None)


def drain_until_poisoned(url: str) -> None:
    """One drain by a process that dies of an entry which says so, as of a bug in a library written in C."""
    _quiet()

    def fragile(entries: list[Entry], quarantined: Collection[str] = ()) -> Reading:
        for entry in entries:
            if b"poison" in entry.fields.get(b"event", b"") and entry.id not in quarantined:
                os.kill(os.getpid(), signal.SIGSEGV)
        return decode(entries, quarantined)

    ingest_service.decode = fragile  # type: ignore[attr-defined]
    with connect(url) as client:
        Ingest(RedisPartition(client, 0)).drain(holder="worker")


def fold_and_weigh(url: str, half: str) -> None:
    """Fold up to the entry `half`, then the rest; leaves in `test:weighed` what the rest cost: milliseconds of CPU,
    and bytes of memory that were not given back."""
    _quiet()
    with connect(url) as client:
        ingest = Ingest(RedisPartition(client, 0), stop_at=half)
        ingest.drain(holder="worker")
        before, started = resident_bytes("self"), time.process_time()
        ingest.stop_at = None
        ingest.drain(holder="worker")
        cost = {"ms": (time.process_time() - started) * 1000, "bytes": resident_bytes("self") - before}
        client.hset("test:weighed", mapping=cost)


def resident_bytes(pid: int | str) -> int:
    """The process's memory, by /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def recompute_for_ever(url: str, experiment: str, seconds: float = 0.05) -> None:
    """What a decide worker does, without waiting for a tick."""
    _quiet()
    with connect(url) as client:
        service = Reallocate(RedisPublications(client), lambda _: RedisPartition(client, 0))

        def work() -> None:
            try:
                service.recompute(experiment)
            except Conflict:
                return
            time.sleep(seconds)

        _for_ever(work)


def _for_ever(work: Callable[[], None]) -> None:
    while True:
        try:
            work()
        except UNREACHABLE:
            time.sleep(BETWEEN_ATTEMPTS_SECONDS)


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class Crew:
    """Processes that are there whatever happens: who is killed is replaced at once."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self._members: list[tuple[Any, Callable[..., None], tuple[Any, ...]]] = []

    def add(self, run: Callable[..., None], *arguments: Any) -> None:
        self._members.append((_start(run, arguments), run, arguments))

    @property
    def pids(self) -> list[int]:
        return [process.pid for process, _, _ in self._members]

    def kill_one(self, rng: random.Random) -> int:
        """SIGKILL to one of them, and another in its place; returns the pid of who is gone."""
        place = rng.randrange(len(self._members))
        process, run, arguments = self._members[place]
        _end(process)
        self.killed.append(process.pid)
        self._members[place] = (_start(run, arguments), run, arguments)
        return int(process.pid)

    def wait(self) -> None:
        """Until all have ended by themselves."""
        for process, _, _ in self._members:
            process.join(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _, _ in self._members:
            _end(process)


def _start(run: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    process = _CONTEXT.Process(target=run, args=arguments, daemon=True)
    process.start()
    return process


def _end(process: Any) -> None:
    process.kill()
    process.join()
