"""What a client holds, and what reading the server does to it: one pure step for both clients.

::

    what was held, what the server answered, when  ─►  what is held now, and what listeners should hear

A document is accepted if it is whole and newer than the one held: a higher revision within an incarnation, or another
incarnation. Everything else is ignored and counted, and what was held stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from pydantic import ValidationError

from trimtab.client._assignments import OnStale, Reason, Table, expiring, missing, table_of
from trimtab.schema.allocation import Allocation

MAX_DOCUMENT_BYTES = 1024 * 1024
"""A thousand variants in several slices each take a third of it; more is never read from the server."""

CLOCK_SLACK_MS = 2000
"""Two readings of the server's clock that differ by less are one: a slow reply must not make staleness flap."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of everything read so far; counters only grow, within one process."""

    accepted: int = 0  # documents: newer revisions and new incarnations
    ignored_backward: int = 0  # an older revision of the same incarnation, or another document under the same one
    ignored_damaged: int = 0  # too large, not JSON, not an allocation, of another experiment, or with a wrong digest
    ignored_missing: int = 0  # the key is gone, while an allocation is held
    new_incarnations: int = 0  # accepted, though another life of the key: data were flushed or restored
    polls: int = 0  # attempts to read, by time or by notice
    errors: int = 0  # keys that the server could not be asked for
    notices: int = 0  # publications heard of by pub/sub
    subscription_errors: int = 0  # subscriptions lost or refused; polling goes on without
    reports: int = 0  # times the server was told what is served here
    reports_refused: int = 0  # times the server did not take that, mostly because this user has no right to write it
    cache_loaded: int = 0  # allocations taken from the disk at the start
    cache_damaged: int = 0  # files on the disk that are no whole copies
    cache_errors: int = 0  # copies that could not be written
    hook_errors: int = 0  # exceptions of the exposure hook and of listeners

    def plus(self, **more: int) -> Counts:
        return replace(self, **{name: getattr(self, name) + n for name, n in more.items()}) if more else self


class FlagEventKind(StrEnum):
    """What a listener may hear of."""

    CHANGED = "changed"  # a newer allocation is served
    NEW_INCARNATION = "new_incarnation"  # the same, and it is another life of the key: data were flushed or restored
    STALE = "stale"  # what is served is past its time
    FRESH = "fresh"  # it no longer is
    IGNORED = "ignored"  # a document was ignored; `detail` says why


class FlagEvent(NamedTuple):
    """Something that happened to what is served of one experiment; epoch and revision are those served from now on."""

    kind: FlagEventKind
    experiment_id: str
    epoch: int | None
    revision: int | None
    previous_epoch: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The server's clock as this process knows it: its milliseconds minus those of the monotonic clock.

    The machine's own wall clock has no say while the server answers, so it may be wrong by any amount.
    """

    offset: float = -math.inf
    measured: bool = False  # by asking the server; else at least this much has passed

    def read(self, server_ms: int, now: float) -> ServerClock:
        """After the server said it is `server_ms`; one reading replaces another only beyond the slack."""
        offset = server_ms - now * 1000
        if self.measured and abs(offset - self.offset) <= CLOCK_SLACK_MS:
            return self
        return ServerClock(offset, measured=True)

    def at_least(self, server_ms: int, now: float) -> ServerClock:
        """Where the server does not tell: it wrote `server_ms` into a document, so it cannot be earlier."""
        offset = server_ms - now * 1000
        return self if self.measured or offset <= self.offset else ServerClock(offset)

    def now(self, now: float) -> int | None:
        """The server's milliseconds at `now` in seconds of the monotonic clock; None before anything is known."""
        return None if math.isinf(self.offset) else round(self.offset + now * 1000)

    def when(self, server_ms: int) -> float:
        """When the monotonic clock shows what the server calls `server_ms`."""
        return (server_ms - self.offset) / 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """How documents are judged."""

    grace_ms: int
    on_stale: OnStale


class Reading(NamedTuple):
    """One look at the server."""

    found: Mapping[str, bytes | Exception | None]  # experiment → what its key holds, or why nobody knows
    server_ms: int | None  # the server's clock; None: it was not reached, or does not tell this user


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything a client holds; replaced whole at each reading, so that a reader needs no lock."""

    terms: Terms
    tables: dict[str, Table] = field(default_factory=dict)
    raw: dict[str, bytes | None] = field(default_factory=dict)  # an unchanged key is not judged again
    clock: ServerClock = ServerClock()
    counts: Counts = Counts()

    def naming(self, experiment_ids: Mapping[str, None]) -> Holdings:
        """With these experiments known by name."""
        return replace(self, tables=dict.fromkeys(experiment_ids, missing(Reason.NOT_READY)) | self.tables)

    def counting(self, **more: int) -> Holdings:
        return replace(self, counts=self.counts.plus(**more))

    def restored(self, allocation: Allocation, server_ms: int, now: float) -> Holdings:
        """With an allocation from the disk, where none is held; it is at least `server_ms` by the server's clock."""
        name = allocation.experiment_id
        held = self.tables.get(name)
        if held is not None and held.allocation is not None:
            return self
        clock = self.clock.at_least(server_ms, now)
        table = self._dated(table_of(allocation, on_stale=self.terms.on_stale), clock)
        return replace(self, tables=self.tables | {name: table}, clock=clock).counting(cache_loaded=1)

    def after(self, reading: Reading, now: float) -> tuple[Holdings, list[FlagEvent]]:
        """What is held after a reading at `now`, in seconds of the monotonic clock, and what happened."""
        tables, raw, events, counts = dict(self.tables), dict(self.raw), list[FlagEvent](), self.counts.plus(polls=1)
        clock = self.clock if reading.server_ms is None else self.clock.read(reading.server_ms, now)
        for name, found in reading.found.items():
            table = tables.setdefault(name, missing(Reason.NOT_READY))
            if isinstance(found, Exception):
                counts = counts.plus(errors=1)
            elif name not in raw or raw[name] != found:
                raw[name] = found
                tables[name], more, event = judged(name, table, found, self.terms.on_stale)
                counts = counts.plus(**more)
                events += [event] if event else []
                if (fresh := tables[name].allocation) is not None:
                    clock = clock.at_least(fresh.computed_at, now)
        for name, table in tables.items():
            tables[name], told = _told(name, self._dated(table, clock), now)
            events += told
        return replace(self, tables=tables, raw=raw, clock=clock, counts=counts), events

    def _dated(self, table: Table, clock: ServerClock) -> Table:
        if table.allocation is None or table.allocation.valid_until is None:
            return table
        return expiring(table, clock.when(table.allocation.valid_until + self.terms.grace_ms))


def judged(
    experiment_id: str, table: Table, raw: bytes | None, on_stale: OnStale = "serve"
) -> tuple[Table, dict[str, int], FlagEvent | None]:
    """The table after reading `raw`, what the key holds; the counts to add; what listeners should hear."""
    held = table.allocation
    if raw is None:
        if held is None:
            return missing(Reason.DEFAULT), {}, None
        return table, {"ignored_missing": 1}, _ignored(experiment_id, held, "the key is gone")
    try:
        found = parsed(experiment_id, raw)
    except ValueError as error:
        return table, {"ignored_damaged": 1}, _ignored(experiment_id, held, f"damaged: {error}")
    if held is not None and found.digest == held.digest:
        return table, {}, None  # back after a damaged one, or known from the disk
    another = held is not None and found.incarnation != held.incarnation
    if held is not None and not another and found.revision <= held.revision:
        detail = f"revision {found.revision} is not above {held.revision}"
        return table, {"ignored_backward": 1}, _ignored(experiment_id, held, detail)
    kind = FlagEventKind.NEW_INCARNATION if another else FlagEventKind.CHANGED
    event = FlagEvent(kind, experiment_id, found.epoch, found.revision, held.epoch if held else None)
    # What listeners were told stays: an allocation that is stale like the one before it is no news.
    newer = replace(table_of(found, on_stale=on_stale), called_stale=table.called_stale)
    return newer, {"accepted": 1, "new_incarnations": int(another)}, event


def parsed(experiment_id: str, raw: bytes) -> Allocation:
    """The allocation that `raw` is.

    Raises:
        ValueError: it is none, or not this experiment's; the text says why in few words.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"above {MAX_DOCUMENT_BYTES:,} bytes")
    try:
        found = Allocation.model_validate_json(raw)
    except ValidationError as error:
        raise ValueError(error.errors(include_url=False, include_input=False)[0]["msg"]) from None
    except Exception as error:  # whatever a foreign document does to a parser, it is damaged
        raise ValueError(type(error).__name__) from error
    if found.experiment_id != experiment_id:
        raise ValueError("it is another experiment's")
    return found


def _ignored(experiment_id: str, held: Allocation | None, detail: str) -> FlagEvent:
    epoch, revision = (held.epoch, held.revision) if held else (None, None)
    return FlagEvent(FlagEventKind.IGNORED, experiment_id, epoch, revision, epoch, detail)


def _told(name: str, table: Table, now: float) -> tuple[Table, list[FlagEvent]]:
    """The table, and an event where it became stale, or fresh again, since listeners were told last."""
    stale = now >= table.stale_at
    if table.allocation is None or stale is table.called_stale:
        return table, []
    kind = FlagEventKind.STALE if stale else FlagEventKind.FRESH
    held = table.allocation
    return replace(table, called_stale=stale), [FlagEvent(kind, name, held.epoch, held.revision, held.epoch)]
