"""What is on its way: batches sealed, numbered and not yet confirmed. Pure: time is an argument, nothing is sent here.

Each partition has a lane: a producer id, the number of its last batch, and the unconfirmed batches in order. A batch
keeps its number and its bytes until it is confirmed, however often it is sent; the fold drops what it has seen.

A server that crashed may come back without the last second or two that it had confirmed. So what was confirmed is kept
for a while, and sent again where the server turns out to live another life than the one that confirmed it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from trimtab.client._columns import encode, metric_names
from trimtab.errors import ConfigurationError
from trimtab.ids import new_producer_id, partition_of
from trimtab.schema.event import BATCH_FIELD, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES, OutcomeEvent
from trimtab.schema.experiment import MAX_METRICS
from trimtab.schema.keys import PartitionKeys
from trimtab.schema.signing import SigningKey

# The fold forgets a producer 48 h after its last batch; a quarter of it leaves room for clocks and outages.
IDLE_MILLISECONDS = 12 * 3_600_000
BATCH_EVENTS = 10_000  # a third of a MiB of lean events: more gains nothing
# Enough to fill a fast network between two replies; one transaction of it holds the server for some milliseconds.
MAX_IN_FLIGHT_BATCHES, MAX_IN_FLIGHT_BYTES = 16, 4 * 1024 * 1024
# A server that writes its disk every second loses two at most; counted back from the last confirmation, not from now.
RESEND_MILLISECONDS, MAX_KEPT_BYTES = 5_000, 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of a batch; `bytes_` leaves room for at least one largest event and the batch's own fields."""

    events: int = BATCH_EVENTS
    bytes_: int = MAX_BATCH_BYTES

    def __post_init__(self) -> None:
        if not 1 <= self.events <= MAX_BATCH_EVENTS:
            raise ConfigurationError(
                f"max_batch_events is {self.events}: choose 1 to {MAX_BATCH_EVENTS}.", field="max_batch_events"
            )
        if not 2 * MAX_EVENT_BYTES <= self.bytes_ <= MAX_BATCH_BYTES:
            raise ConfigurationError(
                f"max_batch_bytes is {self.bytes_}: choose {2 * MAX_EVENT_BYTES} to {MAX_BATCH_BYTES}.",
                field="max_batch_bytes",
            )


@dataclass(frozen=True, slots=True)
class Sealed:
    """One batch as it travels."""

    producer: str
    sequence: int
    n: int
    payload: bytes
    signature: Mapping[str, bytes] = field(default_factory=dict)  # fields beside the payload; none without a key
    counted: bool = False  # confirmed before, and sent again because that may be lost


@dataclass(frozen=True, slots=True)
class Life:
    """Which life of the server answers; None where it does not say. Data are lost only between two lives."""

    run_id: str | None  # of the process: another one may have come back without its last writes
    log: str | None  # of the data: flushed or replaced data have another mark, or none


@dataclass(slots=True)
class _Lane:
    producer: str
    alive_at: int  # when the fold last heard of this producer, or it was made
    sequence: int = 0
    heard: bool = False  # something of this producer was confirmed, so that its numbers may be lost
    spent: bool = False  # what is sealed next takes a new producer id
    unconfirmed: deque[Sealed] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Window:
    """Batches of one partition to send together, in this order."""

    partition: int
    batches: tuple[Sealed, ...]

    def load(self, pipeline: Any) -> Any:
        """The pipeline with these batches as commands: `execute(raise_on_error=False)` sends them."""
        key = PartitionKeys(self.partition).events
        for batch in self.batches:
            pipeline.xadd(key, {BATCH_FIELD: batch.payload, **batch.signature})
        return pipeline

    @property
    def transaction(self) -> bool:
        """All or none: a server that refuses one batch and takes the next would leave a gap."""
        return len(self.batches) > 1


class Outbox:
    """Lanes of all partitions. Not safe for threads: one sender owns it."""

    def __init__(
        self,
        partitions: int,
        limits: Limits | None = None,
        *,
        new_id: Callable[[], str] = new_producer_id,
        key: SigningKey | None = None,
    ) -> None:
        self._partitions = partitions
        self._limits = limits or Limits()
        self._new_id = new_id
        self._key = key
        self._lanes: dict[int, _Lane] = {}
        self._kept: deque[tuple[int, int, Sealed]] = deque()  # when confirmed, partition, batch; oldest first
        self._kept_bytes = 0
        self._life: Life | None = None
        self._cut = False

    def __bool__(self) -> bool:
        return any(lane.unconfirmed for lane in self._lanes.values())

    def seal(self, events: Iterable[OutcomeEvent], now: int) -> int:
        """Turn events into numbered batches at the end of their lanes; `now` is in milliseconds since the epoch.

        Returns how many of them cannot be written: each is left out, and the others travel.
        """
        groups: dict[tuple[str, int | None, str], list[OutcomeEvent]] = {}
        unwritable = 0
        for event in events:
            try:
                groups.setdefault((event.experiment_id, event.epoch, event.origin), []).append(event)
            except TypeError:  # it skipped validation, and what should name its group is no name
                unwritable += 1
        for (experiment_id, _, _), group in groups.items():
            try:
                lane = self._lane(partition_of(experiment_id, self._partitions), now)
            except (AttributeError, TypeError, ValueError):
                unwritable += len(group)
                continue
            for start in range(0, len(group), self._limits.events):
                unwritable += self._append(lane, group[start : start + self._limits.events], now)
        return unwritable

    def windows(self) -> Iterator[Window]:
        """What to send next, lane after lane, until every lane is empty; confirm each before asking for the next."""
        while self:
            for partition, lane in self._lanes.items():
                if lane.unconfirmed:
                    yield Window(partition, tuple(_head(lane.unconfirmed)))

    def confirm(self, window: Window, replies: Sequence[Any], now: int) -> tuple[int, Exception | None]:
        """Take the leading batches that the server accepted off the lane; (their events, the first refusal or None)."""
        lane = self._lanes[window.partition]
        confirmed = 0
        for reply in replies:
            if isinstance(reply, Exception):
                return confirmed, reply
            batch = lane.unconfirmed.popleft()
            confirmed += 0 if batch.counted else batch.n
            lane.heard |= batch.producer == lane.producer
            lane.alive_at = now
            self._keep(window.partition, batch, now)
        return confirmed, None

    def cut_off(self) -> None:
        """The connection failed, and who answers next may have lost anything: what is sealed from now on starts afresh.

        Else a loss older than what is kept would also spoil all that is sealed until the server is back.
        """
        self._cut = True
        self._renew()

    def meet(self, life: Life, now: int) -> bool:
        """Ask before every window, on the connection that takes it. True: ask for windows anew, there is more to send.

        In another life, or after a failed connection to a server that does not say which, what is kept goes back to the
        head of its lane, and what is sealed next takes a new producer id.
        """
        known, self._life, cut, self._cut = self._life, life, self._cut, False
        if known is None:
            return False
        same = known.run_id == life.run_id and (known.log is None or known.log == life.log)
        if same and not (cut and life.run_id is None):
            return False
        for confirmed_at, partition, batch in reversed(self._kept):
            if now - confirmed_at <= IDLE_MILLISECONDS:  # later, the fold may have forgotten that it has seen them
                self._lanes[partition].unconfirmed.appendleft(replace(batch, counted=True))
        self._kept.clear()
        self._kept_bytes = 0
        self._renew()
        return True

    def _keep(self, partition: int, batch: Sealed, now: int) -> None:
        self._kept.append((now, partition, batch))
        self._kept_bytes += len(batch.payload)
        while self._kept[0][0] < now - RESEND_MILLISECONDS or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popleft()[2].payload)

    def _renew(self) -> None:
        for lane in self._lanes.values():
            lane.spent |= lane.heard  # of one never heard of, everything is still here, from its first batch on

    def _lane(self, partition: int, now: int) -> _Lane:
        lane = self._lanes.get(partition)
        if lane is None:
            lane = self._lanes[partition] = _Lane(self._new_id(), now)
        elif lane.spent or now - lane.alive_at > IDLE_MILLISECONDS:
            # What is unconfirmed keeps the old name; what follows starts afresh under a new one.
            lane.producer, lane.sequence, lane.alive_at = self._new_id(), 0, now
            lane.heard = lane.spent = False
        return lane

    def _append(self, lane: _Lane, events: Sequence[OutcomeEvent], now: int) -> int:
        """One batch, or as many as the limits ask for; what cannot be written is isolated, left out and counted.

        Whatever encoding raises is the fault of an event: one that skipped validation, or was changed after it.
        """
        payload = None
        with contextlib.suppress(Exception):
            names = metric_names(events)
            if len(names) <= MAX_METRICS:
                payload = encode(events, names, producer=lane.producer, sequence=lane.sequence + 1, sent_at=now)
        if payload is not None and len(payload) <= self._limits.bytes_:
            lane.sequence += 1
            signature = self._key.sign(BATCH_FIELD, payload) if self._key else {}
            lane.unconfirmed.append(Sealed(lane.producer, lane.sequence, len(events), payload, signature))
            return 0
        if len(events) == 1:
            return 1
        half = len(events) // 2
        return self._append(lane, events[:half], now) + self._append(lane, events[half:], now)


def _head(unconfirmed: deque[Sealed]) -> Iterator[Sealed]:
    """The first batches, up to the limits of what may be in flight; at least one."""
    size = 0
    for batch in islice(unconfirmed, MAX_IN_FLIGHT_BATCHES):
        size += len(batch.payload)
        if size > MAX_IN_FLIGHT_BYTES and size > len(batch.payload):
            return
        yield batch
