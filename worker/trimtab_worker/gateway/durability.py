"""When what was read from the data server is on its disk, so that no crash and no power cut takes it back.

With `appendfsync everysec` a server answers before it has written its disk. Whoever shows an allocation at once may
have to take it back after a power cut: clients would hold a revision that never was, and refuse its namesake. So the
gateway writes a fence after what it read and waits until the append-only file, written in order, has reached the disk.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import redis.asyncio
from redis.exceptions import ResponseError

from trimtab.adapters.redis.scripts import source
from trimtab.schema.keys import FENCE

WAIT_MILLISECONDS = 3000  # below the client's read timeout of 5 s; everysec takes 1 s, 2 s behind a slow disk
SETTLE_SECONDS = 2.5  # where the server cannot say it: everysec writes after 2 s at the latest, or stops taking writes


class Method(StrEnum):
    """How this server tells that its disk is written."""

    WAITAOF = "waitaof"  # Redis 7.2, Valkey
    DELAY = "delay"  # older servers
    NONE = "none"  # nothing is written, or nobody knows when: there is nothing to wait for


class Fence:
    """Reads values of one data server that are on its disk."""

    def __init__(self, client: redis.asyncio.Redis, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._client: Any = client
        self._source = source("fence")
        self._settle_seconds = settle_seconds
        self._marks = itertools.count(1)

    async def read(self, names: Sequence[str]) -> list[bytes | None] | None:
        """What these keys hold, once that is on disk; None: the disk was not reached in time, ask again.

        Raises:
            redis.RedisError: the server cannot be asked.
        """
        method = await self._method()
        if method is Method.WAITAOF:
            return await self._read_and_wait(names)
        if method is Method.DELAY:
            return await self._read_and_settle(names)
        values: list[bytes | None] = await self._reading(names).execute()
        return values

    async def _method(self) -> Method:
        """Asked each time: settings change while servers run, and servers are replaced."""
        info = await self._client.info("persistence", "server")
        if not info.get("aof_enabled"):
            return Method.NONE
        try:
            if (await self._client.config_get("appendfsync")).get("appendfsync") == "no":
                return Method.NONE
        except ResponseError:  # not allowed to ask; then the policy is taken to be one that writes
            pass
        if "valkey_version" in info:
            return Method.WAITAOF
        release = tuple(int(part) for part in str(info.get("redis_version", "0.0")).split(".")[:2])
        return Method.WAITAOF if release >= (7, 2) else Method.DELAY

    def _reading(self, names: Sequence[str]) -> Any:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.get(name)
        return pipeline

    async def _read_and_wait(self, names: Sequence[str]) -> list[bytes | None] | None:
        """All on one connection: WAITAOF waits for its writes only, and the server cannot change in between."""
        pipeline = self._reading(names)
        pipeline.eval(self._source, 1, FENCE, next(self._marks))
        pipeline.execute_command("WAITAOF", 1, 0, WAIT_MILLISECONDS)
        *values, _, (local, _) = await pipeline.execute()
        return values if local else None

    async def _read_and_settle(self, names: Sequence[str]) -> list[bytes | None] | None:
        pipeline = self._reading(names)
        pipeline.info("server")
        *values, before = await pipeline.execute()
        await self._pause()
        after = await self._client.info("server", "persistence")
        written = after.get("aof_last_write_status") == "ok" and not after.get("aof_pending_bio_fsync")
        return values if written and after.get("run_id") == before.get("run_id") else None

    async def _pause(self) -> None:
        await asyncio.sleep(self._settle_seconds)
