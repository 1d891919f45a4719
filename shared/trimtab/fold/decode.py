"""From the bytes of the log to columns: rows and batches become the same `Table`, so that one path counts both."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from trimtab.fold.commit import Entry
from trimtab.ids import SLUG_PATTERN
from trimtab.schema.control import Compaction, ControlEntry, Signing, control_entries
from trimtab.schema.dead_letter import MAX_RAW_BYTES, DeadLetter, DeadLetterCode, reason_of
from trimtab.schema.event import (
    BATCH_FIELD,
    CONTROL_FIELD,
    EVENT_FIELD,
    MAX_BATCH_BYTES,
    MAX_BATCH_EVENTS,
    MAX_CONTROL_BYTES,
    MAX_EVENT_BYTES,
    EventBatch,
    event_rows,
)

_EVENT, _BATCH, _CONTROL = EVENT_FIELD.encode(), BATCH_FIELD.encode(), CONTROL_FIELD.encode()
_KNOWN = frozenset({_EVENT, _BATCH, _CONTROL})
_FIELDS: tuple[Literal["event", "batch", "control"], ...] = ("event", "batch", "control")


class Control(NamedTuple):
    """A control entry at its place in the log."""

    entry: Entry
    order: ControlEntry


class Rows(NamedTuple):
    """Events that came one by one, entry after entry with nothing between them."""

    entries: list[Entry]
    events: list[dict[str, Any]]  # of each the fields of an OutcomeEvent that were given


class Batch(NamedTuple):
    """Many events in columns; `exact` is False where JSON booleans force a look at every value."""

    entry: Entry
    batch: EventBatch
    exact: bool


class Refused(NamedTuple):
    """An entry that could not be read."""

    entry: Entry
    letter: DeadLetter


Item = Control | Rows | Batch | Refused


class Reading(NamedTuple):
    """Entries of the log and what they say, both in log order."""

    entries: list[Entry]
    items: list[Item]


def decode(entries: Iterable[Entry], quarantined: Collection[str] = ()) -> Reading:
    """Entries of the log as what they say, or as the reason why they cannot be read; `quarantined` ids are not read.

    A compaction begins a fold of its own, so what comes after the first entry and from one on is left for the next
    read: it merges what is counted, and events read together with it would not be counted yet. Rules of signing are
    read alone: whoever folds on makes sure first that it knows the secret they speak of.
    """
    reading = Reading([], [])
    run = Rows([], [])
    for entry in entries:
        event = _set_aside(entry) if quarantined and entry.id in quarantined else _event(entry)
        if isinstance(event, dict):  # by far the most frequent, and nothing else need be asked of it
            run.entries.append(entry)
            run.events.append(event)
        else:
            item = event or _item(entry)
            order = item.order if isinstance(item, Control) else None
            if reading.entries and isinstance(order, Compaction | Signing):
                break
            if run.entries:
                reading.items.append(run)
                run = Rows([], [])
            reading.items.append(item)
            if isinstance(order, Signing):
                reading.entries.append(entry)
                break
        reading.entries.append(entry)
    if run.entries:
        reading.items.append(run)
    return reading


def _set_aside(entry: Entry) -> Refused:
    detail = "whoever read this entry, alone, died of it twice; it is not read again"
    return Refused(entry, letter(entry, DeadLetterCode.CRASHED, detail))


def _event(entry: Entry) -> dict[str, Any] | Refused | None:
    """The event of a row, or why it is none; None for an entry of another kind."""
    raw = entry.fields.get(_EVENT)
    if raw is None:
        return None
    if len(entry.fields) > 1 and (_BATCH in entry.fields or _CONTROL in entry.fields):
        return _unknown(entry)
    if len(raw) > MAX_EVENT_BYTES:
        return _too_large(entry, raw, MAX_EVENT_BYTES)
    try:
        event: dict[str, Any] = event_rows.validate_json(raw)
    except (ValidationError, RecursionError) as error:
        return _unreadable(entry, raw, error)
    return event


def _item(entry: Entry) -> Control | Batch | Refused:
    fields = entry.fields
    if len(_KNOWN & fields.keys()) > 1:
        return _unknown(entry)
    if (raw := fields.get(_BATCH)) is not None:
        if len(raw) > MAX_BATCH_BYTES:
            return _too_large(entry, raw, MAX_BATCH_BYTES)
        # A column [0, true] becomes integers without a word in numpy; only a slow look tells them apart.
        exact = b"true" not in raw and b"false" not in raw
        try:
            return Batch(entry, EventBatch.model_validate_json(raw), exact)
        except (ValidationError, RecursionError) as error:
            return _unreadable(entry, raw, error)
    if (raw := fields.get(_CONTROL)) is not None:
        if len(raw) > MAX_CONTROL_BYTES:
            return _too_large(entry, raw, MAX_CONTROL_BYTES)
        try:
            return Control(entry, control_entries.validate_json(raw))
        except ValidationError as error:
            return Refused(entry, letter(entry, DeadLetterCode.INVALID_CONTROL, reason_of(error)[1]))
    return _unknown(entry)


def _unknown(entry: Entry) -> Refused:
    names = ", ".join(sorted(name.decode(errors="replace")[:64] for name in entry.fields)[:8])
    detail = f"the entry has the fields {names}; it needs one of event, batch, control, and only one"
    return Refused(entry, letter(entry, DeadLetterCode.UNKNOWN_ENTRY, detail))


def _unreadable(entry: Entry, raw: bytes, error: ValidationError | RecursionError) -> Refused:
    if isinstance(error, RecursionError):
        return Refused(entry, letter(entry, DeadLetterCode.NOT_JSON, "the JSON nests too deep"))
    experiment_id, n = _named(raw)
    return Refused(entry, letter(entry, *reason_of(error), n=n, experiment_id=experiment_id))


def _named(raw: bytes) -> tuple[str | None, int]:
    """Which experiment an unreadable entry speaks of, and of how many events, where that much of it can be read."""
    try:
        document = from_json(raw)
    except ValueError:
        return None, 1
    if not isinstance(document, dict):
        return None, 1
    name, n = document.get("experiment_id"), document.get("n")
    if not (isinstance(name, str) and re.fullmatch(SLUG_PATTERN, name)):
        name = None
    if not ("variants" in document and isinstance(n, int) and 1 <= n <= MAX_BATCH_EVENTS):
        n = 1
    return name, int(n)


def _too_large(entry: Entry, raw: bytes, limit: int) -> Refused:
    detail = f"the entry has {len(raw)} bytes; the limit is {limit}"
    return Refused(entry, letter(entry, DeadLetterCode.TOO_LARGE, detail))


def letter(
    entry: Entry,
    code: DeadLetterCode,
    detail: str,
    *,
    rows: list[int] | None = None,
    n: int = 1,
    experiment_id: str | None = None,
) -> DeadLetter:
    """A dead letter for `entry`, with as much of its text as is kept; `rows` are places in a batch, rising."""
    known = [name for name in _FIELDS if name.encode() in entry.fields]
    field = known[0] if len(known) == 1 else None
    raw = entry.fields[field.encode()] if field else next(iter(entry.fields.values()), b"")
    kept = raw[:MAX_RAW_BYTES].decode(errors="replace")
    return DeadLetter(
        code=code,
        detail=detail[:500],
        source=entry.id,
        row=rows[0] if rows else None,
        rows=as_ranges(rows) if rows else None,
        n=len(rows) if rows else n,
        experiment_id=experiment_id,
        field=field,
        raw=kept,
        complete=len(raw) <= MAX_RAW_BYTES and kept.encode() == raw,
    )


def as_ranges(rows: list[int]) -> str:
    """Rising places in short: `3,17-40`."""
    starts = [row for before, row in pairwise([-2, *rows]) if row != before + 1]
    ends = [row for row, after in pairwise([*rows, rows[-1] + 2]) if row != after - 1]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))

