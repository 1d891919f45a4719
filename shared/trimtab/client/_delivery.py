"""What both publishers share beside the outbox: the buffer with its counts, back-off, and the words for failures."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from trimtab.client._outbox import Life, Limits, Outbox
from trimtab.errors import BufferFull, ConfigurationError, CorruptState, NotFound, PublishFailed
from trimtab.ids import new_incarnation
from trimtab.schema.event import OutcomeEvent
from trimtab.schema.keys import LOG
from trimtab.schema.signing import SigningKey

_log = logging.getLogger("trimtab.client")

LINGER_SECONDS = 0.02
MAX_BUFFERED_EVENTS = 100_000
CLOSE_SECONDS = 10.0  # a restarted server is back within a few; a deployment kills a process after 30
AT_EXIT_SECONDS = 5.0
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.05, 1.0

LIFE = "life"
LOOK = (("INFO", "server"), ("HGET", LOG, LIFE))
"""What tells one life of the server from another; asked on the very connection that then takes the window."""

RETRIED = (redis.RedisError, OSError)
"""Every answer of the server but success, and every way of not reaching it: the events stay and are sent again."""


@dataclass(slots=True)
class Buffer:
    """Events handed over and not yet sealed, and the counts; published = sent + failed + pending at every moment."""

    capacity: int
    new_id: Callable[[], str]
    limits: Limits
    linger_seconds: float
    key: SigningKey | None = None
    events: list[OutcomeEvent] = field(default_factory=list)
    outbox: Outbox | None = None
    published: int = 0
    taken: int = 0
    settled: int = 0  # of those published first, how many are known to be confirmed
    sent: int = 0
    failed: int = 0
    retries: int = 0
    last_error: Exception | None = None

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ConfigurationError(
                f"max_buffered_events is {self.capacity}: choose 1 or more.", field="max_buffered_events"
            )
        if not 0 <= self.linger_seconds <= 60:
            raise ConfigurationError(
                f"linger_seconds is {self.linger_seconds}: choose 0 to 60.", field="linger_seconds"
            )

    @property
    def pending(self) -> int:
        return self.published - self.sent - self.failed

    @property
    def full(self) -> bool:
        return self.published - self.sent - self.failed >= self.capacity

    @property
    def ripe(self) -> bool:
        """Whether there is a whole batch, so that waiting longer would gain nothing."""
        return len(self.events) >= self.limits.events

    def put(self, event: OutcomeEvent) -> bool:
        """Keep an event; True where the sender must hear of it (the first one, or a whole batch)."""
        self.events.append(event)
        self.published += 1
        held = len(self.events)
        return held == 1 or held == self.limits.events

    def take(self) -> list[OutcomeEvent]:
        events, self.events, self.taken = self.events, [], self.published
        return events

    def fail(self, unwritable: int) -> None:
        """Count events that cannot be written as JSON, and say so: nobody waits for their error any more."""
        self.failed += unwritable
        _log.error("%d events cannot be written as JSON and are left out: correct what publishes them.", unwritable)

    def attempted(self, failure: Exception | None) -> None:
        """Note how an attempt to deliver everything taken ended."""
        self.last_error = failure
        if failure:
            self.retries += 1
        else:
            self.settled = self.taken

    def open(self, partitions: int) -> None:
        self.outbox = Outbox(partitions, self.limits, new_id=self.new_id, key=self.key)

    def restart(self) -> None:
        """Forget everything, as a new process must; the old one goes on with its own events."""
        self.events, self.outbox, self.last_error = [], None, None
        self.published = self.taken = self.settled = self.sent = self.failed = self.retries = 0

    def buffer_full(self, timeout: float) -> BufferFull:
        return BufferFull(
            f"The publisher holds {self.pending:,} unconfirmed events and had no room within {timeout:g} s"
            f"{self._because()}: slow down, wait longer, or raise max_buffered_events."
        )

    def undelivered(self, timeout: float | None, advice: str) -> PublishFailed:
        within = "" if timeout is None else f" after {timeout:g} s"
        return PublishFailed(f"{self.pending:,} events are unconfirmed{within}{self._because()}: {advice}.")

    def _because(self) -> str:
        return f" ({plain(self.last_error)})" if self.last_error else ""


class Counts:
    """What a publisher tells of its events: `sent`, `failed` and `pending` add up to what was published."""

    _buffer: Buffer

    @property
    def sent(self) -> int:
        """Events the server has confirmed."""
        return self._buffer.sent

    @property
    def failed(self) -> int:
        """Events given up at `close`, and those that could not be written as JSON."""
        return self._buffer.failed

    @property
    def pending(self) -> int:
        """Events handed over and not yet confirmed."""
        return self._buffer.pending

    @property
    def retries(self) -> int:
        """Attempts to deliver that failed."""
        return self._buffer.retries

    @property
    def last_error(self) -> Exception | None:
        """Why the last attempt to deliver failed; None after one that succeeded."""
        return self._buffer.last_error


UNFLUSHED = "they are kept and sent again, flush once more to wait for them"
GIVEN_UP = "they are given up, send them again under their event ids"


def closed() -> PublishFailed:
    return PublishFailed("The publisher is closed and takes no more events: build a new one.")


def broken(cause: BaseException, pending: int) -> PublishFailed:
    return PublishFailed(
        f"The publisher stopped at an error of its own ({type(cause).__name__}: {cause}) with {pending:,} events "
        "unconfirmed: build a new one, and report this."
    )


def partitions_of(answer: Any) -> int:
    """What the server holds in the log's `partitions`.

    Raises:
        NotFound: there is no log yet.
        CorruptState: the value is no number of partitions.
    """
    if answer is None:
        raise NotFound("There is no event log yet: create an experiment or run `trimtab up` first.")
    try:
        partitions = int(answer)
    except ValueError:
        partitions = 0
    if partitions < 1:
        raise CorruptState(f"The field partitions of {LOG} holds {answer!r}: it must be a number of partitions.")
    return partitions


def life_of(info: Any, mark: Any) -> Life:
    """What the answers to `LOOK` say; a refusal (a user may lack the right to ask) says nothing."""
    run_id = info.get("run_id") if isinstance(info, dict) else None
    mark = mark.decode() if isinstance(mark, bytes) else mark
    return Life(run_id, mark if isinstance(mark, str) else None)


def mark_log() -> tuple[str, ...]:
    """The command that marks data without a mark; who comes second changes nothing."""
    return ("HSETNX", LOG, LIFE, new_incarnation())


def plain(error: BaseException) -> str:
    """A server's refusal without the command it refused: redis-py quotes that, and events are nobody's business."""
    return str(error).rpartition("caused error: ")[2] or type(error).__name__


def longer(delay: float) -> float:
    """The next delay after a failed attempt: doubled, capped, and spread so that publishers do not march in step."""
    doubled = min(LONGEST_DELAY_SECONDS, 2 * delay) if delay else FIRST_DELAY_SECONDS
    return doubled * random.uniform(0.75, 1)
