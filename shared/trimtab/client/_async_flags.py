"""The flag client for asyncio: the same answers, counts and settings, two tasks in place of the threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio

from trimtab.adapters.redis.connection import connect_async
from trimtab.client import _processes
from trimtab.client._answering import Answering, ExposureHook, Listener, Monotonic
from trimtab.client._assignments import OnStale, Reason, Table, missing
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

_log = logging.getLogger("trimtab.client")


class AsyncFlagClient(Answering):
    """`FlagClient` for one event loop: `async with AsyncFlagClient(experiments=["checkout"]) as flags: …`

    `variant` and `assignments` are plain calls, for they never wait; any thread may make them. An experiment that was
    not named beforehand is NOT_READY at its first question and read at once; `await watch(…)` reads it first. Answers
    grow stale on time even if the loop stands still. After a fork the child serves what the parent knew and polls
    nothing: build a new one there.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        client: redis.asyncio.Redis | None = None,
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
        """Opens nothing before `start`, which `async with` awaits; see `FlagClient` for the arguments."""
        names = checked_names(experiments)
        settings = PollSettings(poll_seconds, jitter, grace_seconds, on_stale, report_seconds)
        self._owns_client = client is None
        self._client: Any = (
            connect_async(redis_url, read_timeout=READ_SECONDS, connect_timeout=CONNECT_SECONDS)
            if client is None
            else client
        )
        self._wakes_up = wake_up
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
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._make_tasks_anew()
        _processes.register(self)

    async def start(self) -> Self:
        """Read `experiments` once, in bounded time and without raising, then poll; starting twice is harmless."""
        if self._loop is None and not self._closed:
            self._loop = asyncio.get_running_loop()
            if self._tables:
                await self._read(self._tables)
            self._tasks.append(asyncio.create_task(self._poll(), name="trimtab-flags"))
            if self._wakes_up:
                self._tasks.append(asyncio.create_task(self._listen_for_notices(), name="trimtab-flags-notices"))
        return self

    async def refresh(self) -> bool:
        """Read every known experiment now, in bounded time; False where the server did not answer for all of them."""
        return await self._read(self._tables)

    async def watch(self, experiment_id: str) -> bool:
        """Know an experiment from now on, as if it had been named at the start; False while there is no allocation.

        Raises:
            ConfigurationError: the id cannot be an experiment's.
        """
        checked_names([experiment_id])
        if self._may_track(experiment_id) and not self._closed:
            self._recall([experiment_id])
            await self._read([experiment_id])
        return self.allocation(experiment_id) is not None

    async def close(self) -> None:
        """Stop polling; questions are answered from what is known, for as long as somebody asks."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        # Before Python 3.12, `asyncio.wait_for` (redis-py writes with it) may swallow the cancellation: ask again.
        while self._tasks and (await asyncio.wait(self._tasks, timeout=0.1))[1]:
            for task in self._tasks:
                task.cancel()
        await self._withdraw()
        if self._owns_client:
            with contextlib.suppress(redis.RedisError, OSError):
                await self._client.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def after_fork(self) -> None:
        """In a forked child: serve what is known; the parent's loop and connections are the parent's."""
        self._park()
        self._unpark()
        self._make_tasks_anew()

    def at_exit(self) -> None:
        """At the end of the process there is no loop left to close anything with."""

    def _make_tasks_anew(self) -> None:
        self._reading = asyncio.Lock()  # held while the server is asked: answers are taken in the order of asking
        self._woken = asyncio.Event()
        self._noticed: set[str] = set()
        self._loop, self._tasks = None, []

    async def _poll(self) -> None:
        due = time.monotonic() + self._settings.next_wait()
        while True:
            await self._report()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._woken.wait()
            self._woken.clear()
            noticed, self._noticed = self._noticed, set()
            everything = time.monotonic() >= due
            if everything:
                due = time.monotonic() + self._settings.next_wait()
            try:
                await self._read({*self._tables, *noticed} if everything else noticed)
            except Exception:  # whatever it is, it must not be the last poll
                _log.exception("a poll failed")

    async def _listen_for_notices(self) -> None:
        """Wake the polling at publications; whatever is missed here, the next poll finds."""
        delay = 0.0
        while True:
            await asyncio.sleep(delay)
            began = time.monotonic()
            try:
                async with self._client.pubsub() as subscription:
                    await self._hear(subscription)
            except Exception:  # the server is gone, or refuses: polling goes on, and says so itself
                self._count(subscription_errors=1)
                delay = longer(delay, time.monotonic() - began)

    async def _hear(self, subscription: Any) -> None:
        names: dict[str, str] = {}
        pulse = Pulse(time.monotonic())
        while True:
            if new := {channel: name for channel, name in channels(self._tables).items() if channel not in names}:
                await subscription.subscribe(*new)
                names |= new
            if not names:
                await asyncio.sleep(SLICE_SECONDS)
                continue
            message = await subscription.get_message(timeout=SLICE_SECONDS)
            if not message:
                silence = pulse.silence(time.monotonic())
                if silence == "lost":
                    raise lost()
                if silence == "ask":
                    await subscription.ping()
                continue
            pulse.beat(time.monotonic())
            if name := self._woken_by(message, names):
                self._notice(name)

    def _notice(self, name: str) -> None:
        self._noticed.add(name)
        self._woken.set()

    def _first(self, experiment_id: str) -> Table:
        """Have an experiment that nobody named so far read as soon as the loop comes to it."""
        if self._loop is not None and self._may_track(experiment_id) and not self._closed:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._notice, experiment_id)
        return missing(Reason.NOT_READY)

    async def _read(self, names: Iterable[str]) -> bool:
        """Ask the server for `names` and take what it holds; False where it did not answer for all of them."""
        async with self._reading:
            asked = list(names)
            try:
                pipeline = self._client.pipeline(transaction=False)
                ask(pipeline, asked)
                reading = understood(asked, await pipeline.execute(raise_on_error=False))
            except Exception as error:  # a poll must outlive everything; what went wrong is counted
                reading = unanswered(asked, error)
            copies = self._take(reading)
            if copies:
                await asyncio.to_thread(self._keep, copies)
            self._answered = any_answered(reading)
            return all_answered(reading)

    async def _report(self) -> None:
        """Tell the server what is served here, where that is due."""
        notes = self._due_reports()
        if not notes:
            return
        try:
            pipeline = self._client.pipeline(transaction=False)
            self._queue_reports(pipeline, notes)
            self._reported(notes, await pipeline.execute(raise_on_error=False))
        except Exception as error:
            self._reported(notes, [error])

    async def _withdraw(self) -> None:
        """Take the notes back."""
        pipeline = self._client.pipeline(transaction=False)
        if self._queue_withdrawals(pipeline):
            with contextlib.suppress(redis.RedisError, OSError):
                await pipeline.execute(raise_on_error=False)
