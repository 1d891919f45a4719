"""From the bytes of the log to columns: rows and batches become the same `Table`, so that one path counts both."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from pydantic import ValidationError

from trimtab.fold.commit import Entry
from trimtab.schema.control import Compaction, ControlEntry, control_entries
from trimtab.schema.dead_letter import MAX_RAW_BYTES, DeadLetter, DeadLetterCode
from trimtab.schema.event import (
    BATCH_FIELD,
    CONTROL_FIELD,
    EVENT_FIELD,
    MAX_BATCH_BYTES,
    MAX_EVENT_BYTES,
    EventBatch,
    event_rows,
)

_EVENT, _BATCH, _CONTROL = EVENT_FIELD.encode(), BATCH_FIELD.encode(), CONTROL_FIELD.encode()
_KNOWN = frozenset({_EVENT, _BATCH, _CONTROL})


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
    read: it merges what is counted, and events read together with it would not be counted yet.
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
            if reading.entries and isinstance(item, Control) and isinstance(item.order, Compaction):
                break
            if run.entries:
                reading.items.append(run)
                run = Rows([], [])
            reading.items.append(item)
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
    if len(entry.fields) > 1 and len(_KNOWN & entry.fields.keys()) > 1:
        return _unknown(entry)
    if len(raw) > MAX_EVENT_BYTES:
        return _too_large(entry, raw, MAX_EVENT_BYTES)
    try:
        return event_rows.validate_json(raw)
    except (ValidationError, RecursionError) as error:
        return _unreadable(entry, raw, error)


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
        try:
            return Control(entry, control_entries.validate_json(raw))
        except ValidationError as error:
            return Refused(entry, letter(entry, DeadLetterCode.INVALID_CONTROL, _sentence(error), raw=raw))
    return _unknown(entry)


def _unknown(entry: Entry) -> Refused:
    names = ", ".join(sorted(name.decode(errors="replace")[:64] for name in entry.fields)[:8])
    detail = f"the entry has the fields {names}; it needs one of event, batch, control, and only one"
    raw = next(iter(entry.fields.values()), b"")
    return Refused(entry, letter(entry, DeadLetterCode.UNKNOWN_ENTRY, detail, raw=raw))


def _unreadable(entry: Entry, raw: bytes, error: ValidationError | RecursionError) -> Refused:
    if isinstance(error, RecursionError):
        return Refused(entry, letter(entry, DeadLetterCode.NOT_JSON, "the JSON nests too deep", raw=raw))
    return Refused(entry, letter(entry, _code(error), _sentence(error), raw=raw))


def _too_large(entry: Entry, raw: bytes, limit: int) -> Refused:
    detail = f"the entry has {len(raw)} bytes; the limit is {limit}"
    return Refused(entry, letter(entry, DeadLetterCode.TOO_LARGE, detail, raw=raw))


def _code(error: ValidationError) -> DeadLetterCode:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if problem["type"] == "json_invalid":
        return DeadLetterCode.NOT_JSON
    if problem["loc"][:1] == ("v",):
        return DeadLetterCode.SCHEMA_VERSION
    if problem["type"] == "missing":
        return DeadLetterCode.MISSING_FIELD
    if problem["loc"][:1] == ("metrics",) and len(problem["loc"]) > 1:
        return DeadLetterCode.INVALID_VALUE
    return DeadLetterCode.INVALID_FIELD


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:64] for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else problem["msg"]


def letter(
    entry: Entry,
    code: DeadLetterCode,
    detail: str,
    *,
    raw: bytes | None = None,
    row: int | None = None,
    n: int = 1,
    experiment_id: str | None = None,
) -> DeadLetter:
    """A dead letter for `entry`, with as much of its text as is kept."""
    if raw is None:
        raw = next(iter(entry.fields.values()), b"")
    return DeadLetter(
        code=code,
        detail=detail[:500],
        source=entry.id,
        row=row,
        n=n,
        experiment_id=experiment_id,
        raw=raw[:MAX_RAW_BYTES].decode(errors="replace"),
    )
