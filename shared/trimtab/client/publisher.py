"""Publishers: hand over outcome events, and they reach the log in batches, in order, each counted once.

::

    with Publisher() as publisher:
        publisher.publish(experiment_id="checkout", variant="b", unit_id="user-1", epoch=3,
                          metrics={"converted": 1}, occurred_at="2026-11-21T08:30:00Z")

An event handed over is *pending* until the server has confirmed its batch. Whatever fails on the way, an unreachable
server or one that refuses writes because its memory is full, the unconfirmed batches are sent again in order with the
same numbers and the same bytes, and the fold drops what it has seen. Nothing is dropped here: a full buffer makes
`publish` wait, and `flush` and `close` say how many events are unconfirmed if they run out of time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import redis

from trimtab.adapters.redis.connection import connect, reaching
from trimtab.client import _processes
from trimtab.client._async_publisher import AsyncPublisher
from trimtab.client._delivery import (
    AT_EXIT_SECONDS,
    CLOSE_SECONDS,
    GIVEN_UP,
    LINGER_SECONDS,
    LOOK,
    MAX_BUFFERED_EVENTS,
    RETRIED,
    UNFLUSHED,
    Buffer,
    Counts,
    broken,
    closed,
    life_of,
    longer,
    mark_log,
    partitions_of,
)
from trimtab.client._events import as_event
from trimtab.client._keys import signing_key_of
from trimtab.client._outbox import BATCH_EVENTS, Life, Limits, Outbox
from trimtab.clock import Clock, system_clock
from trimtab.errors import PublishFailed
from trimtab.ids import new_producer_id
from trimtab.schema.event import MAX_BATCH_BYTES, OutcomeEvent
from trimtab.schema.keys import LOG

__all__ = ["AsyncPublisher", "Publisher"]

_log = logging.getLogger("trimtab.client")


class Publisher(Counts):
    """Publishes from any number of threads; one background thread of its own does the sending.

    Forks: a child process starts empty, under a producer id of its own, with a thread of its own; what the parent
    holds stays the parent's. What is pending when the interpreter ends is delivered in at most 5 s; a `multiprocessing`
    child ends without that, so close the publisher there. `sent`, `failed` and `pending` add up to what was published.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        client: redis.Redis | None = None,
        linger_seconds: float = LINGER_SECONDS,
        max_batch_events: int = BATCH_EVENTS,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_buffered_events: int = MAX_BUFFERED_EVENTS,
        signing_key: str | None = None,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = new_producer_id,
    ) -> None:
        """Nothing is opened before the first event.

        Args:
            redis_url: address of the data server; default: REDIS_URL, else a local `trimtab up`.
            client: a client to use in place of an address; it stays yours to close.
            linger_seconds: how long an event may wait for company, 0 to 60.
            max_batch_events: 1 to 50,000 events in a batch.
            max_batch_bytes: 16 KiB to 1 MiB of JSON in a batch.
            max_buffered_events: how many unconfirmed events are held before `publish` waits.
            signing_key: what `trimtab keys issue` printed, to sign batches with; default: TRIMTAB_SIGNING_KEY.
            clock: returns the time in milliseconds; stamps batches.
            new_id: returns a producer id nobody else has.

        Raises:
            ConfigurationError: a setting out of its range.
            Unavailable: no address is known.
        """
        limits = Limits(max_batch_events, max_batch_bytes)
        self._buffer = Buffer(max_buffered_events, new_id, limits, linger_seconds, signing_key_of(signing_key))
        self._owns_client = client is None
        self._client = connect(redis_url) if client is None else client
        self._clock = clock
        self._closed = False
        self._make_threads_anew()
        _processes.register(self)

    def publish(
        self, event: OutcomeEvent | Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **fields: Any
    ) -> None:
        """Hand over one event: an `OutcomeEvent`, a mapping, or its fields by keyword.

        Waits while the buffer is full: for ever, or for `timeout` seconds (0: not at all).

        Raises:
            InvalidInput: the event cannot be used; nothing was taken.
            BufferFull: there was no room within `timeout`; nothing was taken.
            NotFound: at the first event, there is no log yet.
            Unavailable: at the first event, the server cannot be reached.
            PublishFailed: the publisher is closed.
        """
        checked = as_event(event, fields)
        buffer = self._buffer
        with self._lock:
            if self._not_open or buffer.full:
                self._make_room(timeout)
            if buffer.put(checked):
                self._work.notify()

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything published before this call is confirmed; `timeout` is in seconds, None waits for ever.

        Raises:
            PublishFailed: time ran out; what is unconfirmed stays pending and is sent on.
        """
        with self._lock:
            target = self._buffer.published
            self._hurry = True
            self._work.notify()
            done = self._progress.wait_for(lambda: self._buffer.settled >= target or self._cause, timeout)
            if self._cause:
                raise broken(self._cause, self._buffer.pending) from self._cause
            if not done:
                raise self._buffer.undelivered(timeout, UNFLUSHED)

    def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Flush, then stop for good; closing twice is harmless.

        Raises:
            PublishFailed: time ran out, or the publisher broke. What is unconfirmed counts as `failed`; some of it may
                have reached the log.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = self._not_open = True
            self._progress.notify_all()
        try:
            self.flush(timeout)
        except PublishFailed as unflushed:
            with self._lock:
                failure = unflushed if self._cause else self._buffer.undelivered(timeout, GIVEN_UP)
                self._buffer.failed += self._buffer.pending
                self._stopping = True  # a reply that still comes changes no count any more
            raise failure from self._cause
        finally:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: start empty, with new locks and, at the first event, a new thread."""
        self._buffer.restart()
        self._make_threads_anew()

    def at_exit(self) -> None:
        """At the end of the process: deliver what is left, and say so where that fails."""
        try:
            self.close(AT_EXIT_SECONDS)
        except PublishFailed as failure:
            _log.error("%s", failure)
        except Exception:
            _log.exception("the publisher could not be closed")

    def _make_threads_anew(self) -> None:
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._hurry = self._stopping = False
        self._not_open = True  # no sender yet, closed, or broken: publish must look closer
        self._cause: BaseException | None = None

    def _make_room(self, timeout: float | None) -> None:
        """The slow path of `publish`, lock held: first event, full buffer, or no longer open."""
        buffer = self._buffer
        if self._closed:
            raise closed()
        if self._thread is None:
            self._open()
        if not self._progress.wait_for(lambda: not buffer.full or self._closed or self._cause, timeout):
            raise buffer.buffer_full(timeout or 0)
        if self._cause:
            raise broken(self._cause, buffer.pending) from self._cause
        if self._closed:
            raise closed()

    def _open(self) -> None:
        """Read the number of partitions and start the sender; other callers wait for it without the lock."""
        self._lock.release()
        try:
            with self._opening:
                if self._buffer.outbox is None:
                    with reaching(self._client):
                        self._buffer.open(partitions_of(self._client.hget(LOG, "partitions")))
        finally:
            self._lock.acquire()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trimtab-publisher", daemon=True)
            self._thread.start()
            self._not_open = self._closed

    def _run(self) -> None:
        assert self._buffer.outbox is not None
        outbox, delay = self._buffer.outbox, 0.0
        try:
            while self._await_work(outbox, delay):
                with self._lock:
                    events = self._buffer.take()
                    self._hurry = False
                unwritable = outbox.seal(events, self._clock())
                if unwritable:
                    with self._lock:
                        self._buffer.fail(unwritable)
                        self._progress.notify_all()
                del events  # they live on as bytes, a thirtieth of the memory
                delay = longer(delay) if self._deliver(outbox) else 0.0
        except Exception as error:
            _log.exception("the publisher stopped")
            with self._lock:
                self._cause, self._not_open = error, True
                self._progress.notify_all()

    def _await_work(self, outbox: Outbox, delay: float) -> bool:
        """Wait for something to send and for company, or for `delay` seconds after a failure; False: the end."""
        buffer = self._buffer
        with self._lock:
            if delay:
                self._work.wait_for(lambda: self._stopping, delay)
                return not self._stopping
            self._work.wait_for(lambda: buffer.events or outbox or self._stopping)
            self._work.wait_for(
                lambda: buffer.ripe or outbox or self._hurry or self._stopping, buffer.linger_seconds
            )
            return not self._stopping

    def _deliver(self, outbox: Outbox) -> Exception | None:
        """Send every unconfirmed batch, or as far as it goes: the failure."""
        failure: Exception | None = None
        for window in outbox.windows():
            if self._stopping:
                return None
            try:
                with self._client.pipeline(transaction=window.transaction) as pipeline:
                    if outbox.meet(self._look(pipeline), self._clock()):
                        continue
                    replies = window.load(pipeline).execute(raise_on_error=False)
            except RETRIED as error:
                replies = [error]
            with self._lock:
                confirmed, failure = outbox.confirm(window, replies, self._clock())
                if not self._stopping:
                    self._buffer.sent += confirmed
                self._progress.notify_all()
            if failure:
                if not isinstance(failure, redis.ResponseError):
                    outbox.cut_off()
                break
        with self._lock:
            self._buffer.attempted(failure)
            self._progress.notify_all()
        return failure

    def _look(self, pipeline: Any) -> Life:
        """Which life of the server the pipeline's connection leads to; the pipeline keeps it for the window."""
        life = life_of(*[self._ask(pipeline, *command) for command in LOOK])
        if life.log is None:
            self._ask(pipeline, *mark_log())
            life = life_of(*[self._ask(pipeline, *command) for command in LOOK])
        return life

    def _ask(self, pipeline: Any, *command: str) -> Any:
        try:
            return pipeline.immediate_execute_command(*command)
        except redis.ResponseError as refusal:
            return refusal

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            self._work.notify_all()
            thread = self._thread
        if thread:
            thread.join(1)  # it may hang in a read for seconds more; it is a daemon and sends nothing after that
        if self._owns_client:
            with contextlib.suppress(*RETRIED):
                self._client.close()
