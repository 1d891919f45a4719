"""Signs of life: keys that workers and beat renew and that expire when they no longer can.

A role is a queue (`ingest`, `decide`, `analyse`) or `beat`. Light on purpose: a health check runs every few seconds.
"""

from __future__ import annotations

import re

import redis

from trimtab.adapters.redis.connection import connect, reaching
from trimtab.adapters.redis.scripts import source
from trimtab.errors import InvalidInput
from trimtab.schema import keys
from trimtab.settings import Settings, resolve_addresses

MISSED_BEATS = 3  # one may be lost to a restart of the server, two to a long task; three are a failure
ANY = "any"
BEAT = "beat"
ROLES = ("ingest", "decide", "analyse", BEAT)
TIMEOUT_SECONDS = 2.0  # a worker writes this from its event loop and must not be stuck in it
_ROLE = re.compile(r"^(?P<role>[a-z]{1,16})(@(?P<host>[A-Za-z0-9._-]{1,253}))?$")


def quick_client(settings: Settings) -> redis.Redis:
    """A client that gives up soon."""
    url = resolve_addresses(settings).redis_url
    return connect(url, read_timeout=TIMEOUT_SECONDS, connect_timeout=TIMEOUT_SECONDS)


def report(client: redis.Redis, role: str, name: str, period_seconds: float) -> None:
    """Note that `name` in `role` is alive now, until `MISSED_BEATS` periods from now."""
    expires_ms = int(period_seconds * MISSED_BEATS * 1000)
    beat = client.register_script(source("heartbeat"))
    with reaching(client):
        for key in (keys.heartbeat(role, name), keys.heartbeat(role, ANY)):
            beat(keys=[key], args=[name, expires_ms])


def withdraw(client: redis.Redis, role: str, name: str) -> None:
    """Note that `name` ends in order, so that nobody waits for its key to expire."""
    with reaching(client):
        client.delete(keys.heartbeat(role, name))


def alive(client: redis.Redis, role: str) -> bool:
    """Whether `role` showed a sign of life lately: `ingest` any ingest worker's, `ingest@host` that one's.

    Raises:
        InvalidInput: there is no such role.
    """
    match = _ROLE.fullmatch(role)
    if match is None or match["role"] not in ROLES:
        raise InvalidInput(f"{role!r} is no role; roles are {', '.join(ROLES)}, or ROLE@HOST for one worker.")
    name = f"{match['role']}@{match['host']}" if match["host"] else ANY
    with reaching(client):
        return bool(client.exists(keys.heartbeat(match["role"], name)))


def ages(client: redis.Redis, period_seconds: float) -> dict[str, float | None]:
    """For each role, the seconds since its last sign of life; None where it shows none."""
    with reaching(client):
        left = {role: int(client.pttl(keys.heartbeat(role, ANY))) for role in ROLES}
    return {role: None if ms < 0 else max(0.0, MISSED_BEATS * period_seconds - ms / 1000) for role, ms in left.items()}


def check(role: str, settings: Settings | None = None) -> bool:
    """`alive` with a connection of its own, for health checks from the outside.

    Raises:
        InvalidInput: there is no such role.
        Unavailable: the data server cannot be reached.
    """
    with quick_client(settings or Settings.load()) as client:
        return alive(client, role)
