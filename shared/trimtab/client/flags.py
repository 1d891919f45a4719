"""Flag clients: which variant a unit sees, answered in this process from the last good allocation.

::

    flags = FlagClient(experiments=["checkout"])
    answer = flags.variant("checkout", "user-1", default="a")
    answer.variant, answer.epoch, answer.propensity      # hand epoch and propensity on with the outcome

A background thread polls, and a second one hears of publications in between; `variant` only looks things up, never
raises and never waits, but for the first question about an experiment that was not named beforehand.
`AsyncFlagClient` is the twin for asyncio.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from trimtab.adapters.redis.connection import connect
from trimtab.client import _processes
from trimtab.client._answering import Answering, Exposure, ExposureHook, Listener, Monotonic
from trimtab.client._assignments import Assignment, OnStale, Reason, Table, missing
from trimtab.client._async_flags import AsyncFlagClient
from trimtab.client._holdings import Counts, FlagEvent, FlagEventKind
from trimtab.client._reading import (
    CONNECT_SECONDS,
    READ_SECONDS,
    SLICE_SECONDS,
    PollSettings,
    Pulse,
    all_answered,
    any_answered,
    ask,
    channels,
    checked_names,
    longer,
    lost,
    unanswered,
    understood,
)
from trimtab.clock import Clock, system_clock

__all__ = [
    "Assignment",
    "AsyncFlagClient",
    "Counts",
    "Exposure",
    "FlagClient",
    "FlagEvent",
    "FlagEventKind",
    "Reason",
]

_log = logging.getLogger("trimtab.client")

PATIENCE_SECONDS = READ_SECONDS + CONNECT_SECONDS


class FlagClient(Answering):
    """Answers from memory, from any number of threads; polls `experiments` and whatever is asked for.

    Keeps the last good allocation whatever happens to the server. Past `valid_until` and a grace its answers say STALE,
    judged by the server's clock and a monotonic one: this machine's own may be wrong by any amount. A forked child
    keeps what the parent knew and polls for itself from its first question on.
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
        on_stale: OnStale = "serve",
        wake_up: bool = True,
        cache_dir: Path | str | None = None,
        report_seconds: float = 30.0,
        name: str | None = None,
        on_exposure: ExposureHook | None = None,
        on_event: Listener | None = None,
        signing_key: str | None = None,
        clock: Clock = system_clock,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        """Reads `experiments` once, in bounded time and without raising, then polls.

        Args:
            redis_url: address of the data server; default: REDIS_URL, else a local `trimtab up`.
            client: a client to use in place of an address; it stays yours to close, and its timeouts bound the reads.
            experiments: ids to know from the start.
            poll_seconds: time between polls, .05 to 3,600.
            jitter: share of `poll_seconds`, 0 to 1, by which each wait varies, so that processes spread.
            grace_seconds: how long past `valid_until` an allocation counts as fresh, 0 to 86,400.
            on_stale: `default` gives callers their default instead of a stale allocation's answer. Think twice: it
                sends everybody to the default because a worker died.
            wake_up: whether to subscribe to publications, over a connection of its own, and read at once.
            cache_dir: where to keep copies for a start without a server; default: nowhere.
            report_seconds: how often to tell the server which revision is served here, 0 (never) to 3,600.
            name: under which to tell it; default: host and process id.
            on_exposure: called with an `Exposure` for every answer that an allocation gave, in the caller's thread.
            on_event: called with every `FlagEvent`, in the thread that reads; see `listen`.
            signing_key: what `trimtab keys issue` printed, to sign exposures with; default: TRIMTAB_SIGNING_KEY.
            clock: returns this machine's time in milliseconds; dates copies on the disk, and nothing else.
            monotonic: returns seconds that never run backwards.

        Raises:
            ConfigurationError: a setting out of its range, or an experiment id that cannot be one.
            Unavailable: no address is known.
        """
        names = checked_names(experiments)
        settings = PollSettings(poll_seconds, jitter, grace_seconds, on_stale, report_seconds)
        self._owns_client = client is None
        # redis-py's annotations join the reply shapes of every protocol version; ours is one (see `connection`).
        self._client: Any = (
            connect(redis_url, read_timeout=READ_SECONDS, connect_timeout=CONNECT_SECONDS) if client is None else client
        )
        self._wakes_up = wake_up
        self._closed = False
        super().__init__(
            names,
            settings,
            cache_dir=cache_dir,
            name=name,
            on_exposure=on_exposure,
            on_event=on_event,
            signing_key=signing_key,
            clock=clock,
            monotonic=monotonic,
        )
        self._make_threads_anew()
        if names:
            self._read(names)
        self._begin()
        _processes.register(self)

    def refresh(self) -> bool:
        """Read every known experiment now, in bounded time; False where the server did not answer for all of them."""
        self._bring_back()
        return self._read(self._tables)

    def watch(self, experiment_id: str) -> bool:
        """Know an experiment from now on, as if it had been named at the start; False while there is no allocation.

        Raises:
            ConfigurationError: the id cannot be an experiment's.
        """
        checked_names([experiment_id])
        return self._table(experiment_id).allocation is not None

    def close(self) -> None:
        """Stop polling; questions are answered from what is known, for as long as somebody asks."""
        if self._closed:
            return
        self._closed = True
        self._unpark()
        self._stop.set()
        self._woken.set()
        if self._thread:
            if self._thread is not threading.current_thread():  # a listener may close the client
                self._thread.join(PATIENCE_SECONDS)
            self._withdraw()
        if self._owns_client:
            with contextlib.suppress(redis.RedisError, OSError):
                self._client.close()  # which also ends the subscription

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: park the tables, so that the first question starts threads and brings them back.

        No thread is started here: many a child becomes another program at once.
        """
        self._park()
        self._make_threads_anew()

    def at_exit(self) -> None:
        """At the end of the process: stop polling before the interpreter takes modules away."""
        self.close()

    def _make_threads_anew(self) -> None:
        # Held while the server is asked, so that answers are taken in the order of asking; a listener may ask again.
        self._reading = threading.RLock()
        self._stop = threading.Event()
        self._woken = threading.Event()
        self._noticed: set[str] = set()
        self._thread: threading.Thread | None = None

    def _begin(self, first_wait: float | None = None) -> None:
        wait = self._settings.next_wait() if first_wait is None else first_wait
        self._thread = threading.Thread(target=self._poll, args=(wait,), name="trimtab-flags", daemon=True)
        self._thread.start()
        if self._wakes_up:
            threading.Thread(target=self._listen_for_notices, name="trimtab-flags-notices", daemon=True).start()

    def _poll(self, wait: float) -> None:
        stop, due = self._stop, time.monotonic() + wait
        while not stop.is_set():
            self._report()
            self._woken.wait(max(0.0, due - time.monotonic()))
            if stop.is_set():
                return
            self._woken.clear()
            # Taken one by one: a notice that comes in between stays, and has set the event again.
            noticed = [self._noticed.pop() for _ in range(len(self._noticed))]
            everything = time.monotonic() >= due
            if everything:
                due = time.monotonic() + self._settings.next_wait()
            try:
                self._read(self._tables if everything else noticed)
            except Exception:  # whatever it is, it must not be the last poll
                _log.exception("a poll failed")

    def _listen_for_notices(self) -> None:
        """Wake the polling at publications; whatever is missed here, the next poll finds."""
        stop, delay = self._stop, 0.0
        while not stop.wait(delay):
            began = time.monotonic()
            try:
                with self._client.pubsub() as subscription:
                    self._hear(subscription, stop)
            except Exception:  # the server is gone, or refuses: polling goes on, and says so itself
                if stop.is_set():
                    return
                self._count(subscription_errors=1)
                delay = longer(delay, time.monotonic() - began)

    def _hear(self, subscription: Any, stop: threading.Event) -> None:
        names: dict[str, str] = {}
        pulse = Pulse(time.monotonic())
        while not stop.is_set():
            if new := {channel: name for channel, name in channels(self._tables).items() if channel not in names}:
                subscription.subscribe(*new)
                names |= new
            if not names:
                stop.wait(SLICE_SECONDS)
                continue
            message = subscription.get_message(timeout=SLICE_SECONDS)
            if not message:
                silence = pulse.silence(time.monotonic())
                if silence == "lost":
                    raise lost()
                if silence == "ask":
                    subscription.ping()
                continue
            pulse.beat(time.monotonic())
            if name := self._woken_by(message, names):
                self._noticed.add(name)
                self._woken.set()

    def _first(self, experiment_id: str) -> Table:
        """Read an experiment that nobody named so far, and poll it from now on; others wait for the one who asks."""
        if not self._reading.acquire(timeout=PATIENCE_SECONDS):
            return missing(Reason.NOT_READY)
        try:
            self._bring_back()
            if self._may_track(experiment_id) and not self._closed:
                self._recall([experiment_id])
                self._ask([experiment_id])
            return self._tables.get(experiment_id, missing(Reason.NOT_READY))
        finally:
            self._reading.release()

    def _bring_back(self) -> None:
        """After a fork: the parent's tables, and threads of our own."""
        with self._swapping:
            if self._thread is None and not self._closed:
                self._unpark()
                self._begin(first_wait=0)

    def _read(self, names: Iterable[str]) -> bool:
        """Ask the server for `names` and take what it holds; False where it did not answer for all of them."""
        with self._reading:
            return self._ask(list(names))

    def _ask(self, names: list[str]) -> bool:
        try:
            pipeline = self._client.pipeline(transaction=False)
            ask(pipeline, names)
            reading = understood(names, pipeline.execute(raise_on_error=False))
        except Exception as error:  # a poll must outlive everything; what went wrong is counted
            reading = unanswered(names, error)
        self._keep(self._take(reading))
        self._answered = any_answered(reading)
        return all_answered(reading)

    def _report(self) -> None:
        """Tell the server what is served here, where that is due."""
        notes = self._due_reports()
        if not notes:
            return
        try:
            pipeline = self._client.pipeline(transaction=False)
            self._queue_reports(pipeline, notes)
            self._reported(notes, pipeline.execute(raise_on_error=False))
        except Exception as error:
            self._reported(notes, [error])

    def _withdraw(self) -> None:
        """Take the notes back."""
        pipeline = self._client.pipeline(transaction=False)
        if self._queue_withdrawals(pipeline):
            with contextlib.suppress(redis.RedisError, OSError):
                pipeline.execute(raise_on_error=False)
