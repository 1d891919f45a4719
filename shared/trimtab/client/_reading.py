"""What both flag clients ask the server for, and how its answers are understood."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import redis

from trimtab.client._assignments import OnStale
from trimtab.client._holdings import MAX_DOCUMENT_BYTES, Reading
from trimtab.errors import ConfigurationError
from trimtab.ids import SLUG_PATTERN
from trimtab.schema.keys import ExperimentKeys

READ_SECONDS = 1.0  # an application waits at most this and the connection time, once per experiment and process
CONNECT_SECONDS = 0.5
MAX_TRACKED = 1000  # ids may come from outside; each tracked one costs a read at every poll

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.5, 30.0  # between attempts to subscribe: polling goes on meanwhile
SLICE_SECONDS = 1.0  # how often a waiting subscription looks whether it should end, or hear of more experiments
QUIET_SECONDS = 10.0  # silence after which a subscription asks whether the server is still there

is_slug = re.compile(SLUG_PATTERN).fullmatch


@dataclass(frozen=True, slots=True)
class PollSettings:
    """How a client polls; checked when it is built."""

    poll_seconds: float
    jitter: float
    grace_seconds: float
    on_stale: OnStale
    report_seconds: float

    def __post_init__(self) -> None:
        for setting, low, high in (
            ("poll_seconds", 0.05, 3600),
            ("jitter", 0, 1),
            ("grace_seconds", 0, 86_400),
            ("report_seconds", 0, 3600),
        ):
            value = getattr(self, setting)
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{setting} is {value}: choose {low:g} to {high:,}.", field=setting, value=value
                )
        if self.on_stale not in ("serve", "default"):
            raise ConfigurationError(
                f"on_stale is {self.on_stale!r}: choose 'serve' or 'default'.", field="on_stale", value=self.on_stale
            )

    def next_wait(self) -> float:
        """Seconds to the next poll, spread so that processes do not march in step."""
        return self.poll_seconds * random.uniform(1 - self.jitter, 1 + self.jitter)


def checked_names(experiments: Iterable[str]) -> dict[str, None]:
    """The ids, each once.

    Raises:
        ConfigurationError: one that cannot be an experiment's id.
    """
    names = dict.fromkeys(experiments)
    for name in names:
        if not is_slug(name):
            raise ConfigurationError(f"{name!r} cannot be an experiment's id: ids match {SLUG_PATTERN}.", value=name)
    return names


def ask(pipeline: Any, names: Iterable[str]) -> None:
    """Queue one look at the server: its clock, and what each key holds, though no more than can be an allocation.

    `GETRANGE` reads as atomically as `GET`, and bounds what a damaged key costs every poll.
    """
    pipeline.time()
    for name in names:
        pipeline.execute_command("GETRANGE", ExperimentKeys(name).weights, 0, MAX_DOCUMENT_BYTES, NEVER_DECODE=True)


def understood(names: Sequence[str], replies: Sequence[Any]) -> Reading:
    """What the replies to `ask` say; a user may lack the right to read the clock, or some of the keys."""
    time, *documents = replies
    server_ms = None if isinstance(time, Exception) else int(time[0]) * 1000 + int(time[1]) // 1000
    found = {name: document or None for name, document in zip(names, documents, strict=True)}
    return Reading(found, server_ms)


def unanswered(names: Iterable[str], error: Exception) -> Reading:
    """The reading of a server that did not answer."""
    return Reading(dict.fromkeys(names, error), None)


def all_answered(reading: Reading) -> bool:
    return not any(isinstance(found, Exception) for found in reading.found.values())


def any_answered(reading: Reading) -> bool:
    return any(not isinstance(found, Exception) for found in reading.found.values())


def channels(names: Iterable[str]) -> dict[str, str]:
    """Channel → experiment."""
    return {ExperimentKeys(name).notices: name for name in names}


class Pulse:
    """Whether a silent subscription still has a server at its other end; a half-open connection never says so."""

    def __init__(self, now: float) -> None:
        self._heard, self._asked = now, False

    def beat(self, now: float) -> None:
        self._heard, self._asked = now, False

    def silence(self, now: float) -> Literal["short", "ask", "lost"]:
        """What the silence until `now` means; `ask` once per silence."""
        quiet = now - self._heard
        if quiet > 2 * QUIET_SECONDS:
            return "lost"
        if quiet > QUIET_SECONDS and not self._asked:
            self._asked = True
            return "ask"
        return "short"


def longer(delay: float, lasted: float) -> float:
    """Seconds before the next attempt to subscribe: doubled, capped and spread, and short after one that lasted."""
    again = delay > 0 and lasted < LONGEST_DELAY_SECONDS
    doubled = min(LONGEST_DELAY_SECONDS, 2 * delay) if again else FIRST_DELAY_SECONDS
    return doubled * random.uniform(0.75, 1)


def lost() -> redis.ConnectionError:
    return redis.ConnectionError("the server has not answered on the subscription's connection")
