"""HTTP gateway on the loopback"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import requests
import uvloop

from benchmarks.system import running_log

CONNECTIONS, SECONDS, WARM_UP_SECONDS, RUNS = 16, 3.0, 0.5, 3
_SERVE = "from trimtab_worker.cli import main; main()"


def measure() -> dict[str, float]:
    """Requests a second and the slowest per cent in milliseconds, over 16 connections, the client in this process."""
    with running_log() as (_, server), _serving(server.url) as url:
        tag = requests.get(f"{url}/v1/weights/checkout", timeout=30).headers["etag"]
        body = b'{"context": {"targetingKey": "user-1"}}'
        figures = {
            "gateway_304": _load(url, _request("GET", "/v1/weights/checkout", f"If-None-Match: {tag}\r\n")),
            "gateway_200": _load(url, _request("GET", "/v1/weights/checkout")),
            "gateway_ofrep": _load(url, _request("POST", "/ofrep/v1/evaluate/flags/checkout", body=body)),
        }
    return {
        f"{name}_{what}": value
        for name, (rate, p99) in figures.items()
        for what, value in (("requests_per_second", rate), ("p99_ms", p99))
    }


@contextmanager
def _serving(redis_url: str) -> Iterator[str]:
    """The address of a gateway process."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, "serve", "--port", "0"],
        env=os.environ | {"REDIS_URL": redis_url},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate()


def _request(method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
    length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{headers}{length}\r\n".encode() + body


def _load(url: str, request: bytes) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of their milliseconds; the best of some runs."""
    place = urlsplit(url)
    assert place.hostname
    assert place.port
    return max(uvloop.run(_run(place.hostname, place.port, request)) for _ in range(RUNS))


async def _run(host: str, port: int, request: bytes) -> tuple[float, float]:
    loop, started = asyncio.get_running_loop(), time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: _Caller(request, started + WARM_UP_SECONDS), host, port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(WARM_UP_SECONDS + SECONDS)
    milliseconds = np.concatenate([caller.seconds for caller in callers]) * 1000
    for caller in callers:
        caller.stop()
    return len(milliseconds) / SECONDS, float(np.quantile(milliseconds, 0.99))


class _Caller(asyncio.Protocol):
    """One connection that asks again when it is answered; all answers are as long as the first."""

    def __init__(self, request: bytes, counts_from: float) -> None:
        self._request, self._counts_from = request, counts_from
        self._length = self._received = 0
        self._sent_at = 0.0
        self._stopped = False
        self.seconds: list[float] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        if not self._length:
            assert data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 304")), data
            self._length = len(data)
        self._received += len(data)
        if self._received < self._length:
            return
        now = time.perf_counter()
        if self._sent_at >= self._counts_from:
            self.seconds.append(now - self._sent_at)
        self._received = 0
        if not self._stopped:
            self._ask()

    def stop(self) -> None:
        self._stopped = True
        self._transport.close()

    def _ask(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)
