"""A TCP proxy that fails as networks do: replies lost after the request was done, delays, bytes that go nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 1 << 16


class Proxy:
    """Stands before a server; `loss`, `delay_seconds` and `swallows` may change any time; with `tls` it speaks it."""

    def __init__(self, url: str, *, loss: float = 0.0, seed: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.loss = loss  # probability that a reply is dropped and its connection aborted
        self.delay_seconds = 0.0  # of each reply
        self.swallows = False  # bytes of both sides vanish, connections stay open
        self.passes: Callable[[bytes], bool] = lambda _: True  # asked of each request; else it and its connection go
        self.replies = self.lost = 0
        self.port = 0
        self._tls = tls
        self._server = urlsplit(url)
        self._rng = random.Random(seed)
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = listener.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ending.wait()
        listener.close()  # and `asyncio.run` cancels whatever connection is still there

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with _closing(writer), contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(self._server.hostname, self._server.port)
            with _closing(far_writer):
                ways = [
                    asyncio.ensure_future(self._requests(reader, far_writer)),
                    asyncio.ensure_future(self._replies(far_reader, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if not self.passes(chunk):
                return
            if not self.swallows:
                writer.write(chunk)
                await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self.swallows:
                continue
            self.replies += 1
            if self._rng.random() < self.loss:
                self.lost += 1
                return
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            writer.write(chunk)
            await writer.drain()


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.transport.abort()
