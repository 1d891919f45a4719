"""The board: what every experiment serves, kept in this process and shown once it cannot be taken back.

One subscription and one poll stand behind any number of requests. A publication is read when its notice arrives, or at
the next poll; it is shown when the fence has passed (`durability`), and nothing shown is ever replaced by something
older. While the data server is away the last good allocations stay.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis
import redis.asyncio

from trimtab import telemetry
from trimtab.client._assignments import Assignment, answer
from trimtab.client._holdings import FlagEventKind, Holdings, Reading, Terms
from trimtab.client._reading import is_slug
from trimtab.schema import keys
from trimtab.schema.allocation import Allocation
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.gateway.durability import Fence

POLL_SECONDS = 2.0  # what a lost notice costs
NOTICE_SECONDS = 1.0  # the longest wait for a notice, below any read timeout
RETRY_SECONDS = 0.5
GRACE_MILLISECONDS = 60_000  # the flag client's
MAX_QUESTIONS = 1000  # about experiments that are not known; ids come from outside

log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """One experiment's allocation as it is served."""

    allocation: Allocation
    body: bytes  # the document as it was published
    etag: str


def etag_of(allocation: Allocation) -> str:
    """A strong tag: one life of the key, its revision, and the content."""
    return f'"{allocation.incarnation}.{allocation.revision}.{allocation.digest[:16]}"'


_TAG = re.compile(r'"(?P<incarnation>[^".]+)\.(?P<revision>[0-9]{1,18})\.[0-9a-f]{16}"').fullmatch


def has_seen(shown: Shown, tags: str) -> bool:
    """Whether a client that sends these tags as If-None-Match knows this allocation, or a newer one.

    A newer one it has from a gateway that was faster: answering with ours would take it backwards.
    """
    for tag in tags.split(","):
        tag = tag.strip().removeprefix("W/")
        if tag in ("*", shown.etag):
            return True
        found = _TAG(tag)
        mine = shown.allocation
        if found and found["incarnation"] == mine.incarnation and int(found["revision"]) > mine.revision:
            return True
    return False


class Board:
    """What is shown, and the tasks that keep it so; for one event loop."""

    def __init__(
        self, client: redis.asyncio.Redis, fence: Fence | None = None, *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._client: Any = client
        self._fence = fence or Fence(client)
        self._poll_seconds = poll_seconds
        self.shown: dict[str, Shown] = {}
        self.holdings = Holdings(Terms(GRACE_MILLISECONDS, on_stale="serve"))
        self.known: set[str] = set()  # experiments that exist, started or not
        self.read_at: float | None = None  # when the data server last answered for all of them, monotonic
        self.closing = False
        self.waiting = 0  # requests that wait for a change
        self._new: set[str] = set()  # experiments whose documents are not taken yet
        self._changes: dict[str, asyncio.Event] = {}
        self._noticed: set[str] = set()
        self._questions: dict[str, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._first = asyncio.Event()
        self._server_ms: int | None = None  # the data server's clock at the last reading

    @asynccontextmanager
    async def running(self, first_seconds: float = 5.0) -> AsyncIterator[None]:
        """Keep the board while the block runs; enters when everything was read once, or after `first_seconds`."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._follow())]
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), first_seconds)
            yield
        finally:
            self.release()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def assign(self, experiment_id: str, unit_id: str) -> Assignment:
        """What a unit sees of an experiment that is shown, from the flag client's own tables."""
        return answer(self.holdings.tables[experiment_id], unit_id, None, time.monotonic())

    async def find(self, experiment_id: str) -> Shown | None:
        """What the experiment serves; an unknown one is asked for, so that a fresh one is found at once."""
        if experiment_id not in self.shown:
            await self._ask(experiment_id)
        return self.shown.get(experiment_id)

    async def exists(self, experiment_id: str) -> bool:
        """Whether there is such an experiment, as far as the data server can be asked."""
        if experiment_id not in self.known:
            await self._ask(experiment_id)
        return experiment_id in self.known

    @property
    def held_back(self) -> frozenset[str]:
        """Experiments with a publication that was read, and is not known to be on the data server's disk."""
        return frozenset(self._new)

    async def change(self, experiment_id: str, seen: Shown) -> None:
        """Return when the experiment shows something else than `seen`, or the gateway closes."""
        while not self.closing and self.shown[experiment_id].etag == seen.etag:
            await self._changes.setdefault(experiment_id, asyncio.Event()).wait()

    def silence(self) -> float | None:
        """Seconds since the data server last answered for everything; None before it ever did."""
        return None if self.read_at is None else time.monotonic() - self.read_at

    def is_fresh(self) -> bool:
        """Whether the data server has answered lately."""
        silence = self.silence()
        return silence is not None and silence < 3 * self._poll_seconds + 3

    def release(self) -> None:
        """Let everybody who waits go."""
        self.closing = True
        for event in self._changes.values():
            event.set()

    async def _ask(self, experiment_id: str) -> None:
        """Wait for one reading of an experiment that the board does not have; all who ask share it."""
        if not is_slug(experiment_id) or len(self._questions) >= MAX_QUESTIONS:
            return
        question = self._questions.setdefault(experiment_id, asyncio.get_running_loop().create_future())
        self._wake.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(question), self._poll_seconds + 3)

    async def _listen(self) -> None:
        """Note which experiments were published; after a lost connection all of them may have been."""
        while True:
            try:
                async with self._client.pubsub() as notices:
                    await notices.psubscribe(keys.NOTICES_PATTERN)
                    while True:
                        notice = await notices.get_message(ignore_subscribe_messages=True, timeout=NOTICE_SECONDS)
                        if notice is not None:
                            self._noticed.add(notice["channel"].decode().partition("{")[2].partition("}")[0])
                            self._wake.set()
            except (redis.RedisError, OSError):
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        """Read everything every `poll_seconds`, and what was noticed or asked for in between."""
        due = 0.0
        while True:
            asked, self._questions = self._questions, {}
            names, self._noticed = {name for name in {*self._noticed, *asked} if is_slug(name)}, set()
            self._wake.clear()
            everything = time.monotonic() >= due
            if everything:
                due = time.monotonic() + self._poll_seconds
            try:
                await self._read(names, everything)
                await self._show()
                if everything:
                    self.read_at = time.monotonic()
                    self._first.set()
            except (redis.RedisError, OSError) as error:
                log.warning("board_not_read", error=type(error).__name__)
            except Exception:  # the board outlives whatever it reads
                log.exception("board_failed")
            finally:
                for question in asked.values():
                    question.set_result(None)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.0, due - time.monotonic()))

    async def _read(self, names: Iterable[str], everything: bool) -> None:
        """Find out which of these experiments, or of all, have another document than the one taken last."""
        names, self._server_ms = list(names), None
        if everything:
            members, (seconds, micros) = await self._client.smembers(keys.EXPERIMENTS), await self._client.time()
            self.known = {name.decode() for name in members}
            self._server_ms = int(seconds) * 1000 + int(micros) // 1000
            names = sorted({*names, *self.known})
        if not names:
            return
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(ExperimentKeys(name).weights)
            pipeline.sismember(keys.EXPERIMENTS, name)
        replies = await pipeline.execute()
        for name, raw, exists in zip(names, replies[::2], replies[1::2], strict=True):
            if exists:
                self.known.add(name)
            if raw is not None and raw != self.holdings.raw.get(name):
                self._new.add(name)

    async def _show(self) -> None:
        """Show what is new, as far as the data server's disk has it."""
        names = sorted(self._new)
        values = await self._fence.read([ExperimentKeys(name).weights for name in names]) if names else []
        if values is None:
            return
        self._new.difference_update(names)
        durable = {name: raw for name, raw in zip(names, values, strict=True) if raw is not None}
        self.holdings, events = self.holdings.after(Reading(durable, self._server_ms), time.monotonic())
        for event in events:
            if event.kind is FlagEventKind.IGNORED:
                log.warning("document_ignored", experiment=event.experiment_id, detail=event.detail)
            elif event.kind in (FlagEventKind.CHANGED, FlagEventKind.NEW_INCARNATION):
                self._put(event.experiment_id, durable[event.experiment_id])

    def _put(self, name: str, body: bytes) -> None:
        allocation = self.holdings.tables[name].allocation
        assert allocation is not None, "it was just accepted"
        self.shown[name] = Shown(allocation, body, etag_of(allocation))
        if event := self._changes.pop(name, None):
            event.set()
