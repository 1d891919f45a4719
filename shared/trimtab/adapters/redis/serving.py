"""Notes on who serves what: one sorted set per experiment, scored by the server's clock, short and expiring.

Plain commands on one key, so that a flag client's user needs no right to run scripts. The notes are for people to look
at; nothing relies on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from redis import Redis

from trimtab.schema.keys import ExperimentKeys
from trimtab.schema.serving import ServingClient

MAX_CLIENTS = 1000
"""The newest are kept; a fleet beyond that is seen by sample."""


def leave(pipeline: Any, experiment_id: str, note: str, before: str | None, now: int, keep_ms: int) -> None:
    """Queue the commands that put `note` in the place of `before` at the server's `now`, forgotten after `keep_ms`."""
    key = ExperimentKeys(experiment_id).clients
    if before is not None and before != note:
        pipeline.zrem(key, before)
    pipeline.zadd(key, {note: now})
    pipeline.zremrangebyscore(key, "-inf", now - keep_ms)
    pipeline.zremrangebyrank(key, 0, -MAX_CLIENTS - 1)
    pipeline.pexpire(key, keep_ms)


def withdraw(pipeline: Any, experiment_id: str, note: str) -> None:
    """Queue the command that takes a note back."""
    pipeline.zrem(ExperimentKeys(experiment_id).clients, note)


def serving(client: Redis, experiment_id: str) -> list[tuple[int, ServingClient]]:
    """Who serves an experiment, and when each said so in milliseconds of the server's clock, newest first."""
    connection: Any = client  # see `stream.RedisLog` on redis-py's annotations
    found = connection.zrevrange(ExperimentKeys(experiment_id).clients, 0, -1, withscores=True)
    return list(_readable(found))


def _readable(found: list[Any]) -> Iterator[tuple[int, ServingClient]]:
    for note, score in found:
        try:
            yield int(score), ServingClient.model_validate_json(note)
        except ValidationError:
            continue  # whoever may write the key may write anything
