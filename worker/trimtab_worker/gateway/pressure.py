"""How the data server bears what it is sent, looked at once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from trimtab import telemetry
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from trimtab_worker.bootstrap import Services

LOOK_SECONDS = 1.0
MAX_MEMORY_SHARE = 0.85  # above, a server of 2 GB has room for some seconds of a flood and for the snapshot of a trim
LAG_RETRY_SECONDS, MEMORY_RETRY_SECONDS = 5, 10  # a drain takes that many; a trim follows a drain

log = telemetry.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pressure:
    """One look at the data server."""

    unread: int = 0  # entries that the slowest partition's fold has not read
    memory_share: float = 0.0  # of maxmemory; 0 without a limit
    drain_silent_seconds: float | None = None  # since a drain last reported, of the most silent partition; None: never

    def relief(self, max_unread: int) -> tuple[str, int] | None:
        """Why events cannot be taken now, and after how many seconds to ask again; None: they can."""
        if self.memory_share > MAX_MEMORY_SHARE:
            return f"The data server's memory is {self.memory_share:.0%} full", MEMORY_RETRY_SECONDS
        if self.unread > max_unread:
            return f"{self.unread:,} entries of the log wait unread", LAG_RETRY_SECONDS
        return None


class Gauge:
    """The newest look; `look` asks the server and may block."""

    def __init__(self, look: Callable[[], Pressure]) -> None:
        self._look = look
        self.newest = Pressure()
        self.looked_at: float | None = None  # monotonic; None before the first answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                self.newest = await asyncio.to_thread(self._look)
                self.looked_at = time.monotonic()
            except (RedisError, OSError, TrimtabError) as error:
                log.warning("pressure_unknown", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)


def look(services: Services) -> Pressure:
    """Ask the data server."""
    info = services.client.info("memory")
    limit = int(info.get("maxmemory") or 0)
    count = services.publications.partitions() or 0
    unread, reports = 0, list[int | None]()
    for store in map(services.partition, range(count)):
        counters, ends = store.peek().counters, store.ends()
        unread = max(unread, ends.entries_added - counters["entries"] - counters["lost"])
        reports.append(store.drained_at())
    earliest = min((report or 0 for report in reports), default=0)
    return Pressure(
        unread=unread,
        memory_share=int(info["used_memory"]) / limit if limit else 0.0,
        drain_silent_seconds=(services.now() - earliest) / 1000 if earliest else None,
    )
