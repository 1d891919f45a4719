"""Servers for tests, and how to wait: a condition with a deadline, never a bare sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from trimtab_worker.embedded import EmbeddedServer

POLL_SECONDS = 0.01
T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 10.0, *, what: str = "") -> T:
    """Ask until `condition` returns something true, and return that; fail after `seconds`.

    A condition that raises a redis error is asked again: servers come and go in these tests.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = answer = condition()
        except redis.RedisError as error:
            last = error
        else:
            if answer:
                return answer
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"{what or 'the condition'} did not hold within {seconds:g} s; the last answer was {last!r}")


def start_server(directory: Path, **options: Any) -> EmbeddedServer:
    """An embedded server with the write-behind of a test: everything as in production, no memory limit."""
    return EmbeddedServer(directory, maxmemory_bytes=0, **options).start()


def plain_client(url: str) -> redis.Redis:
    """A client that never retries, so that a test sees what the server says; the caller closes it."""
    return redis.Redis.from_url(url, protocol=3, legacy_responses=False, retry=Retry(NoBackoff(), 0))
