"""The one place that builds Redis clients, and the sentence each failure to reach the server becomes.

Why not redis-py's defaults: it repeats any command up to ten times on its own, so that one XADD may be written twice
without a word, and its reply shapes depend on two settings. Here nothing is repeated silently and shapes are fixed;
whoever may repeat an operation safely says so itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from trimtab import addresses
from trimtab.errors import ConfigurationError, Unavailable

READ_TIMEOUT_SECONDS = 5.0  # a blocking read must stay below it; ours block 1 s at most
CONNECT_TIMEOUT_SECONDS = 3.0
_SCHEMES = ("redis", "rediss", "unix")

UNREACHABLE = (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.InvalidResponse)
"""What redis-py raises when the server cannot be reached, refuses to talk yet, or is not a Redis server."""

AnyClient = redis.Redis | redis.asyncio.Redis


def connect(
    url: str | None = None,
    *,
    read_timeout: float = READ_TIMEOUT_SECONDS,
    connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
) -> redis.Redis:
    """A client for `url`, else REDIS_URL, else a local `trimtab up`; nothing is opened before the first command.

    Args:
        url: such as `redis://:password@host:6379/0`, `rediss://…` or `unix:///path`.
        read_timeout: seconds to wait for a reply; longer than any blocking read, which adds its own time.
        connect_timeout: seconds to wait for a connection.

    Raises:
        ConfigurationError: the address is not a Redis URL.
        Unavailable: no address is known.
    """
    address = addresses.resolve(url).redis_url
    with _well_formed(address):
        return redis.Redis.from_url(
            address, retry=Retry(NoBackoff(), 0), **_settings(read_timeout, connect_timeout)
        )


def connect_async(
    url: str | None = None,
    *,
    read_timeout: float = READ_TIMEOUT_SECONDS,
    connect_timeout: float = CONNECT_TIMEOUT_SECONDS,
) -> redis.asyncio.Redis:
    """`connect` for asyncio: same arguments, same errors."""
    address = addresses.resolve(url).redis_url
    with _well_formed(address):
        return redis.asyncio.Redis.from_url(
            address, retry=AsyncRetry(NoBackoff(), 0), **_settings(read_timeout, connect_timeout)
        )


def redact(url: str) -> str:
    """`url` without its user, password and query, fit for messages and logs."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "***"
    if "://" not in url or "@" in parts.path:  # then a password may stand where no password belongs
        return "***"
    return f"{parts.scheme}://{'***@' if parts.username or parts.password else ''}{place}"


def address_of(client: AnyClient) -> str:
    """Where a client connects to, as `host:port/db` or a socket's path; never with a password."""
    settings = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    if path := settings.get("path"):
        return str(path)
    if host := settings.get("host"):
        return f"{host}:{settings.get('port', 6379)}/{settings.get('db') or 0}"
    return "the given client's address"


@contextmanager
def reaching(client: AnyClient) -> Iterator[None]:
    """Turn redis-py's connection errors inside the block into `Unavailable`; other errors pass through."""
    try:
        yield
    except UNREACHABLE as error:
        raise unavailable(error, client) from error


def unavailable(error: Exception, client: AnyClient) -> Unavailable:
    """The sentence that says what to do about a server that does not answer."""
    place = address_of(client)
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return Unavailable(f"The data server at {place} refuses the login: correct the user in REDIS_URL.")
        case exceptions.BusyLoadingError():
            return Unavailable(f"The data server at {place} is still loading its data: try again in a moment.")
        case exceptions.MaxConnectionsError():
            return Unavailable(f"All connections to {place} are in use: allow more, or share one client less widely.")
        case exceptions.InvalidResponse():
            return Unavailable(f"What answers at {place} is not a Redis server: correct REDIS_URL.")
        case exceptions.TimeoutError():
            return Unavailable(f"The data server at {place} did not answer in time: check its load and the network.")
    return Unavailable(f"The data server at {place} cannot be reached: start it, or correct REDIS_URL.")


def _settings(read_timeout: float, connect_timeout: float) -> dict[str, Any]:
    return {
        "protocol": 3,
        "legacy_responses": False,
        "socket_timeout": read_timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        # Only Redis Enterprise sends them; asking costs each connection a round trip and a permission.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


@contextmanager
def _well_formed(url: str) -> Iterator[None]:
    """The URL is looked at before redis-py does: its own messages repeat the whole of it."""
    advice = "write redis://host:port/db, rediss://… or unix:///path"
    if url.partition("://")[0] not in _SCHEMES:
        raise ConfigurationError(f"{redact(url)!r} is not the address of a Redis server: {advice}.", field="redis_url")
    try:
        yield
    except (ValueError, TypeError):
        raise ConfigurationError(f"{redact(url)!r} cannot be read: {advice}.", field="redis_url") from None
