"""The flag client: which variant a unit sees, answered in this process from the last good allocation.

::

    flags = FlagClient(experiments=["checkout"])
    answer = flags.variant("checkout", "user-1", default="a")
    answer.variant, answer.epoch, answer.propensity      # hand epoch and propensity on with the outcome

A background thread polls; `variant` only looks things up, never raises and never waits, but for the first question
about an experiment that was not named beforehand.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from bisect import bisect_right
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import mmh3
import redis

from trimtab.adapters.redis.connection import connect
from trimtab.client import _processes
from trimtab.client._assignments import Assignment, Counts, Reason, Table, aged, intake, missing
from trimtab.clock import Clock, system_clock
from trimtab.errors import ConfigurationError
from trimtab.ids import SLUG_PATTERN
from trimtab.schema.base import PARTS
from trimtab.schema.keys import ExperimentKeys

__all__ = ["Assignment", "FlagClient", "Reason"]

READ_SECONDS = 1.0  # an application waits at most this and the connection time, once per experiment and process
CONNECT_SECONDS = 0.5
MAX_TRACKED = 1000  # ids may come from outside; each tracked one costs a read at every poll
_is_slug = re.compile(SLUG_PATTERN).fullmatch
_hash = mmh3.hash


class FlagClient:
    """Answers from memory, from any number of threads; polls `experiments` and whatever is asked for.

    Keeps the last good allocation whatever happens to the server: past `valid_until` and a grace it goes on serving it
    with the reason STALE. A forked child keeps what the parent knew and polls for itself from the first poll on.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        client: redis.Redis | None = None,
        experiments: Iterable[str] = (),
        poll_seconds: float = 5.0,
        jitter: float = 0.1,
        grace_seconds: float = 60.0,
        clock: Clock = system_clock,
    ) -> None:
        """Reads `experiments` once, in bounded time and without raising, then polls.

        Args:
            redis_url: address of the data server; default: REDIS_URL, else a local `trimtab up`.
            client: a client to use in place of an address; it stays yours to close, and its timeouts bound the reads.
            experiments: ids to know from the start.
            poll_seconds: time between polls, .05 to 3,600.
            jitter: share of `poll_seconds`, 0 to 1, by which each wait varies, so that processes spread.
            grace_seconds: how long past `valid_until` an allocation counts as fresh.
            clock: returns the time in milliseconds; only staleness depends on it.

        Raises:
            ConfigurationError: a setting out of its range, or an experiment id that cannot be one.
            Unavailable: no address is known.
        """
        names = dict.fromkeys(experiments)
        _check(names, poll_seconds, jitter, grace_seconds)
        self._owns_client = client is None
        self._client = (
            connect(redis_url, read_timeout=READ_SECONDS, connect_timeout=CONNECT_SECONDS) if client is None else client
        )
        self._poll_seconds, self._jitter, self._grace = poll_seconds, jitter, round(grace_seconds * 1000)
        self._clock = clock
        # Replaced whole, never changed: a reader needs no lock.
        self._tables: dict[str, Table] = dict.fromkeys(names, missing(Reason.NOT_READY))
        self._parked: dict[str, Table] = {}  # the parent's tables, in a forked child that was asked nothing yet
        self._raw: dict[str, bytes | None] = {}  # what each key held last: an unchanged document is not read again
        self._counts = Counts()
        self._closed = False
        self._make_threads_anew()
        if names:
            self._read(list(names))
        self._begin_polling()
        _processes.register(self)

    def variant(self, experiment_id: str, unit_id: str, default: str | None = None) -> Assignment:
        """What the unit sees, and why; `default` is served where no allocation is known. Never raises."""
        try:
            if unit_id:
                table = self._tables[experiment_id]
                # Bytes, not text: mmh3 5.3 crashes the process at text that has no UTF-8, such as "\ud800".
                bucket = _hash(table.prefix + unit_id.encode(), 0, False) * PARTS >> 32
                return table.answers[bisect_right(table.ends, bucket)]
        except Exception:  # whatever it is, the slow path finds the words for it
            pass
        return self._slowly(experiment_id, unit_id, default)

    def refresh(self) -> bool:
        """Read every known experiment now, in bounded time; False where the server did not answer for all of them."""
        self._bring_back()
        return self._read(list(self._tables))

    @property
    def experiments(self) -> tuple[str, ...]:
        """Ids that are polled."""
        return tuple(self._tables or self._parked)

    @property
    def counts(self) -> Counts:
        """How many documents were accepted and ignored, and how often the server could not be asked."""
        return self._counts

    def close(self) -> None:
        """Stop polling; questions are answered from what is known, for as long as somebody asks."""
        if self._closed:
            return
        self._closed = True
        self._tables, self._parked = self._tables or self._parked, {}
        self._stop.set()
        if self._thread:
            self._thread.join(READ_SECONDS + CONNECT_SECONDS)
        if self._owns_client:
            with contextlib.suppress(redis.RedisError, OSError):
                self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: park the tables, so that the first question starts a thread and brings them back.

        No thread is started here: many a child becomes another program at once.
        """
        self._parked, self._tables = self._tables or self._parked, {}
        self._make_threads_anew()

    def at_exit(self) -> None:
        """At the end of the process: stop polling before the interpreter takes modules away."""
        self.close()

    def _make_threads_anew(self) -> None:
        self._swapping = threading.Lock()  # held while tables are replaced
        self._asking = threading.Lock()  # held while an experiment is read for the first time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def _begin_polling(self, first_wait: float | None = None) -> None:
        wait = self._next_wait() if first_wait is None else first_wait
        self._thread = threading.Thread(target=self._poll, args=(wait,), name="trimtab-flags", daemon=True)
        self._thread.start()

    def _poll(self, wait: float) -> None:
        while not self._stop.wait(wait):
            self.refresh()
            wait = self._next_wait()

    def _next_wait(self) -> float:
        return self._poll_seconds * random.uniform(1 - self._jitter, 1 + self._jitter)

    def _slowly(self, experiment_id: str, unit_id: str, default: str | None) -> Assignment:
        """The answer where the fast path has none: an odd unit, an unknown experiment, or no allocation."""
        if not (isinstance(unit_id, str) and unit_id):
            return Assignment(default, None, None, Reason.INVALID_UNIT, None)
        if not (isinstance(experiment_id, str) and _is_slug(experiment_id)):
            return Assignment(default, None, None, Reason.DEFAULT, None)
        table = self._tables.get(experiment_id) or self._first(experiment_id)
        if not table.answers:
            return Assignment(default, None, None, table.absent, None)
        try:
            bucket = _hash(table.prefix + unit_id.encode(), 0, False) * PARTS >> 32
        except UnicodeError:  # half a surrogate pair has no UTF-8, hence no bucket
            return Assignment(default, None, None, Reason.INVALID_UNIT, None)
        return table.answers[bisect_right(table.ends, bucket)]

    def _first(self, experiment_id: str) -> Table:
        """Read an experiment that nobody named so far, and poll it from now on; others wait for the one who asks."""
        if not self._asking.acquire(timeout=READ_SECONDS + CONNECT_SECONDS):
            return missing(Reason.NOT_READY)
        try:
            self._bring_back()
            if experiment_id not in self._tables and len(self._tables) < MAX_TRACKED and not self._closed:
                self._read([experiment_id])
            return self._tables.get(experiment_id, missing(Reason.NOT_READY))
        finally:
            self._asking.release()

    def _bring_back(self) -> None:
        """After a fork: the parent's tables, and a thread of our own."""
        with self._swapping:
            if self._thread is None and not self._closed:
                self._tables, self._parked = self._parked, {}
                self._begin_polling(first_wait=0)

    def _read(self, names: list[str]) -> bool:
        """Ask the server for `names` and take what it holds; without an answer, tables still grow old."""
        replies: list[Any] = []
        try:
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.get(ExperimentKeys(name).weights)
            replies = pipeline.execute(raise_on_error=False)
        except Exception as error:  # a poll must outlive everything; what went wrong is counted and kept
            replies = [error] * len(names)
        failures = [reply for reply in replies if isinstance(reply, Exception)]
        self._take(dict(zip(names, replies, strict=True)), errors=len(failures))
        return not failures

    def _take(self, found: dict[str, Any], errors: int) -> None:
        with self._swapping:
            tables, counts = dict(self._tables), self._counts.plus(errors=errors)
            for name, reply in found.items():
                table = tables.setdefault(name, missing(Reason.NOT_READY))
                if isinstance(reply, Exception):
                    continue
                raw = reply.encode() if isinstance(reply, str) else reply
                if name in self._raw and self._raw[name] == raw:
                    continue
                tables[name], more = intake(name, table, raw)
                self._raw[name] = raw
                counts = counts.plus(**more)
            now = self._clock()
            self._tables = {name: aged(table, now, self._grace) for name, table in tables.items()}
            self._counts = counts


def _check(names: Iterable[str], poll_seconds: float, jitter: float, grace_seconds: float) -> None:
    for name in names:
        if not _is_slug(name):
            raise ConfigurationError(f"{name!r} cannot be an experiment's id: ids match {SLUG_PATTERN}.", value=name)
    for setting, value, low, high in (
        ("poll_seconds", poll_seconds, 0.05, 3600),
        ("jitter", jitter, 0, 1),
        ("grace_seconds", grace_seconds, 0, 86_400),
    ):
        if not low <= value <= high:
            raise ConfigurationError(f"{setting} is {value}: choose {low:g} to {high:,}.", field=setting, value=value)
