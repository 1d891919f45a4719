"""The publisher for asyncio: the same batches, counts and errors, one task in place of the thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import redis.asyncio

from trimtab.adapters.redis.connection import connect_async, reaching
from trimtab.client import _processes
from trimtab.client._delivery import (
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

_log = logging.getLogger("trimtab.client")


class AsyncPublisher(Counts):
    """`Publisher` for one event loop; arguments, counts and errors are the same.

    Use it with `async with`, or await `close`: when the loop ends before that, what is pending is lost, and a line in
    the log says how much. After a fork the child starts empty, as with `Publisher`.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        client: redis.asyncio.Redis | None = None,
        linger_seconds: float = LINGER_SECONDS,
        max_batch_events: int = BATCH_EVENTS,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_buffered_events: int = MAX_BUFFERED_EVENTS,
        signing_key: str | None = None,
        clock: Clock = system_clock,
        new_id: Callable[[], str] = new_producer_id,
    ) -> None:
        """Nothing is opened before the first event; see `Publisher` for the arguments."""
        limits = Limits(max_batch_events, max_batch_bytes)
        self._buffer = Buffer(max_buffered_events, new_id, limits, linger_seconds, signing_key_of(signing_key))
        self._owns_client = client is None
        self._client = connect_async(redis_url) if client is None else client
        self._clock = clock
        self._closed = False
        self._make_task_anew()
        _processes.register(self)

    async def publish(
        self, event: OutcomeEvent | Mapping[str, Any] | None = None, /, *, timeout: float | None = None, **fields: Any
    ) -> None:
        """Hand over one event; waits only for the first event's look at the log and while the buffer is full.

        Raises:
            InvalidInput, BufferFull, NotFound, Unavailable, PublishFailed: as `Publisher.publish`.
        """
        checked = as_event(event, fields)
        buffer = self._buffer
        if self._not_open or buffer.full:
            await self._make_room(timeout)
        if buffer.put(checked):
            self._work.set()
            if buffer.ripe:
                await asyncio.sleep(0)  # a loop of nothing but publishes would never let the sender run

    async def flush(self, timeout: float | None = None) -> None:
        """Return when everything published before this call is confirmed.

        Raises:
            PublishFailed: `timeout` seconds ran out; what is unconfirmed stays pending and is sent on.
        """
        target = self._buffer.published
        self._hurry = True
        self._work.set()
        done = await self._progressed(lambda: self._buffer.settled >= target or bool(self._cause), timeout)
        if self._cause:
            raise broken(self._cause, self._buffer.pending) from self._cause
        if not done:
            raise self._buffer.undelivered(timeout, UNFLUSHED)

    async def close(self, timeout: float | None = CLOSE_SECONDS) -> None:
        """Flush, then stop for good; closing twice is harmless.

        Raises:
            PublishFailed: time ran out, or the publisher broke. What is unconfirmed counts as `failed`; some of it may
                have reached the log.
        """
        if self._closed:
            return
        self._closed = self._not_open = True
        self._announce()
        try:
            await self.flush(timeout)
        except PublishFailed as unflushed:
            failure = unflushed if self._cause else self._buffer.undelivered(timeout, GIVEN_UP)
            self._buffer.failed += self._buffer.pending
            raise failure from self._cause
        finally:
            await self._stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def after_fork(self) -> None:
        """In a forked child: start empty, and with a new task at the first event."""
        self._buffer.restart()
        self._make_task_anew()

    def at_exit(self) -> None:
        """At the end of the process there is no loop left to send with: say what that costs."""
        if self._buffer.pending:
            _log.error(
                "An AsyncPublisher was never closed; %d events are unconfirmed: use it with `async with`.",
                self._buffer.pending,
            )

    def _make_task_anew(self) -> None:
        self._work = asyncio.Event()
        self._waiters: set[asyncio.Future[None]] = set()
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._hurry = self._stopping = False
        self._not_open = True  # no sender yet, closed, or broken: publish must look closer
        self._cause: BaseException | None = None

    async def _make_room(self, timeout: float | None) -> None:
        """The slow path of `publish`: first event, full buffer, or no longer open."""
        if self._closed:
            raise closed()
        if self._task is None:
            await self._open()
        buffer = self._buffer
        if not await self._progressed(lambda: not buffer.full or self._closed or bool(self._cause), timeout):
            raise buffer.buffer_full(timeout or 0)
        if self._cause:
            raise broken(self._cause, buffer.pending) from self._cause
        if self._closed:
            raise closed()

    async def _open(self) -> None:
        async with self._opening:
            if self._task is None:
                with reaching(self._client):
                    self._buffer.open(partitions_of(await self._client.hget(LOG, "partitions")))
                self._task = asyncio.create_task(self._run(), name="trimtab-publisher")
                self._not_open = self._closed

    async def _progressed(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition` holds, looking again at every confirmation; False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        except TimeoutError:
            return condition()
        return True

    def _announce(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _run(self) -> None:
        assert self._buffer.outbox is not None
        outbox, delay = self._buffer.outbox, 0.0
        try:
            while not self._stopping:
                await self._await_work(outbox, delay)
                events = self._buffer.take()
                self._hurry = False
                unwritable = outbox.seal(events, self._clock())
                if unwritable:
                    self._buffer.fail(unwritable)
                    self._announce()
                del events
                delay = longer(delay) if await self._deliver(outbox) else 0.0
        except Exception as error:
            _log.exception("the publisher stopped")
            self._cause, self._not_open = error, True
            self._announce()

    async def _await_work(self, outbox: Outbox, delay: float) -> None:
        """Wait for something to send and for company, or for `delay` seconds after a failure."""
        if delay:
            await asyncio.sleep(delay)
            return
        buffer = self._buffer
        while not (buffer.events or outbox):
            self._work.clear()
            await self._work.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(buffer.linger_seconds):
                while not (buffer.ripe or outbox or self._hurry):
                    self._work.clear()
                    await self._work.wait()

    async def _deliver(self, outbox: Outbox) -> Exception | None:
        """Send every unconfirmed batch, or as far as it goes: the failure."""
        buffer, failure = self._buffer, None
        for window in outbox.windows():
            if self._stopping:
                return None
            try:
                async with self._client.pipeline(transaction=window.transaction) as pipeline:
                    if outbox.meet(await self._look(pipeline), self._clock()):
                        continue
                    replies = await window.load(pipeline).execute(raise_on_error=False)
            except RETRIED as error:
                replies = [error]
            confirmed, failure = outbox.confirm(window, replies, self._clock())
            if not self._stopping:  # a reply that still comes changes no count any more
                buffer.sent += confirmed
            self._announce()
            if failure:
                if not isinstance(failure, redis.ResponseError):
                    outbox.cut_off()
                break
        buffer.attempted(failure)
        self._announce()
        return failure

    async def _look(self, pipeline: Any) -> Life:
        """Which life of the server the pipeline's connection leads to; the pipeline keeps it for the window."""
        life = life_of(*[await self._ask(pipeline, *command) for command in LOOK])
        if life.log is None:
            await self._ask(pipeline, *mark_log())
            life = life_of(*[await self._ask(pipeline, *command) for command in LOOK])
        return life

    async def _ask(self, pipeline: Any, *command: str) -> Any:
        try:
            return await pipeline.immediate_execute_command(*command)
        except redis.ResponseError as refusal:
            return refusal

    async def _stop(self) -> None:
        self._stopping = True
        if self._task:
            self._task.cancel()
            # Before Python 3.12, `asyncio.wait_for` (redis-py writes with it) may swallow the cancellation: ask again.
            while not (await asyncio.wait({self._task}, timeout=0.1))[0]:
                self._task.cancel()
        if self._owns_client:
            with contextlib.suppress(*RETRIED):
                await self._client.aclose()
