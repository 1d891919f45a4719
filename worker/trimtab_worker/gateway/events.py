"""Outcome events as they come over HTTP, made into entries of the log, or into reasons why not. Pure.

One event, an array of them, or CloudEvents: single, batch, or with attributes in headers. All or nothing: one row that
cannot be taken refuses the whole request, with the reason of each such row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from trimtab.client._columns import encode, metric_names
from trimtab.ids import OPAQUE_MAX_LENGTH
from trimtab.schema.dead_letter import DeadLetterCode, reason_of
from trimtab.schema.event import BATCH_FIELD, EVENT_FIELD, MAX_BATCH_BYTES, MAX_EVENT_BYTES, OutcomeEvent
from trimtab.schema.experiment import MAX_METRICS
from trimtab_worker.gateway.bodies import JSON, parse_json
from trimtab_worker.gateway.problems import ProblemCode, Reason, Refusal, invalid

CLOUD_EVENT, CLOUD_EVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"
MEDIA_TYPES = (JSON, CLOUD_EVENT, CLOUD_EVENTS)
MAX_ROWS = 500
MAX_REASONS = 100
_HEADER_PREFIX = "ce-"

Entry = tuple[str, bytes]  # field and payload
Attribute = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class CloudEvent(BaseModel):
    """A CloudEvent 1.0 around an outcome event; attributes and extensions that are not named here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Attribute
    source: Annotated[str, StringConstraints(pattern=r"^\S{1,1024}$")] = Field(
        description="A URI reference; with `id`, what makes the event recognisable when it is sent again."
    )
    type: Attribute
    subject: Attribute | None = Field(None, description="The unit, where `data` names none.")
    time: Any = Field(None, description="When it occurred, where `data` does not say (RFC 3339).")
    data: dict[str, Any] = Field(description="The outcome event.")


def read_rows(content_type: str, headers: Mapping[str, str], body: bytes) -> list[Any]:
    """The outcome events in a body, not yet checked.

    Raises:
        Refusal: 415, another media type; 400, no JSON or not of its form; 413, too many rows.
    """
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type not in MEDIA_TYPES or ("charset" in parameters.lower() and "utf-8" not in parameters.lower()):
        advice = f"Send {', '.join(MEDIA_TYPES[:-1])} or {MEDIA_TYPES[-1]}, in UTF-8."
        raise Refusal(415, ProblemCode.UNSUPPORTED_MEDIA_TYPE, advice)
    try:
        document = parse_json(body)
    except ValueError as error:
        raise invalid(f"No events can be read: {error}.") from None
    if media_type == JSON and f"{_HEADER_PREFIX}specversion" in headers:
        return _unwrapped([_from_headers(headers, document)])
    several = media_type == CLOUD_EVENTS or (media_type == JSON and isinstance(document, list))
    rows = document if several else [document]
    if not isinstance(rows, list) or not rows:
        raise invalid("A batch is an array of at least one event.")
    if len(rows) > MAX_ROWS:
        raise Refusal(413, ProblemCode.TOO_LARGE, f"{len(rows):,} events are above {MAX_ROWS}: send several requests.")
    return rows if media_type == JSON else _unwrapped(rows)


def check(rows: Sequence[Any], idempotency_key: str | None = None) -> list[OutcomeEvent]:
    """The rows as events; those without an `event_id` take the request's key and their place, if there is a key.

    Raises:
        Refusal: 400 or 413, with a reason for each row that cannot be taken.
    """
    events, reasons = [], []
    for place, row in enumerate(rows):
        if idempotency_key and isinstance(row, dict) and row.get("event_id") is None:
            row = {**row, "event_id": f"{idempotency_key}#{place}"}
        try:
            event = OutcomeEvent.model_validate(row)
        except ValidationError as error:
            reasons.append(_reason(place, error))
            continue
        if event.origin != "live":
            detail = "origin: imports are exempt from lateness, and come by `trimtab replay` only"
            reasons.append(Reason(row=place, code=DeadLetterCode.INVALID_FIELD, detail=detail))
        elif max(len(orjson.dumps(row)), len(as_row(event))) > MAX_EVENT_BYTES:
            detail = f"the event is above {MAX_EVENT_BYTES:,} bytes"
            reasons.append(Reason(row=place, code=DeadLetterCode.TOO_LARGE, detail=detail))
        events.append(event)
    if reasons:
        raise refused(reasons, len(rows))
    return events


def refused(reasons: Sequence[Reason], rows: int) -> Refusal:
    """The refusal of a request of so many rows."""
    only_size = all(reason.code == DeadLetterCode.TOO_LARGE for reason in reasons)
    return Refusal(
        413 if only_size else 400,
        ProblemCode.TOO_LARGE if only_size else ProblemCode.INVALID_EVENTS,
        f"{len(reasons)} of {rows} events cannot be taken, so none was: correct them or leave them out.",
        reasons=reasons[:MAX_REASONS],
    )


def as_row(event: OutcomeEvent) -> bytes:
    """One event as a row of the log."""
    return event.model_dump_json(exclude_none=True).encode()


def entries(events: Iterable[OutcomeEvent], now: int) -> list[Entry]:
    """Entries of the log: events that share experiment, epoch and origin as columns, single ones as rows.

    `now` is when the columns are sealed, in milliseconds.
    """
    groups: dict[tuple[str, int | None, str], list[OutcomeEvent]] = defaultdict(list)
    for event in events:
        groups[event.experiment_id, event.epoch, event.origin].append(event)
    return [entry for group in groups.values() for entry in _group_entries(group, now)]


def _group_entries(group: Sequence[OutcomeEvent], now: int) -> list[Entry]:
    names = metric_names(group)
    if len(group) > 1 and len(names) <= MAX_METRICS:
        # No producer and no number: a request that is sent again is known by its event ids.
        columns = encode(group, names, producer=None, sequence=None, sent_at=now)
        if len(columns) <= MAX_BATCH_BYTES:
            return [(BATCH_FIELD, columns)]
    return [(EVENT_FIELD, as_row(event)) for event in group]


def _unwrapped(documents: Sequence[Any]) -> list[dict[str, Any]]:
    """CloudEvents as outcome events.

    Raises:
        Refusal: 400, with a reason for each that is no CloudEvent.
    """
    rows, reasons = [], []
    for place, document in enumerate(documents):
        try:
            rows.append(_outcome(CloudEvent.model_validate(document)))
        except ValidationError as error:
            reasons.append(_reason(place, error))
    if reasons:
        raise refused(reasons, len(documents))
    return rows


def _outcome(cloud: CloudEvent) -> dict[str, Any]:
    """The outcome event inside, under the name that source and id give it."""
    given = {"unit_id": cloud.subject, "occurred_at": cloud.time}
    named = {name: value for name, value in given.items() if value is not None}
    return {**named, **cloud.data, "event_id": _name(cloud)}


def _name(cloud: CloudEvent) -> str:
    """Source and id as one id: a source has no blank, so that no two pairs look alike."""
    name = f"{cloud.source} {cloud.id}"
    return name if len(name) <= OPAQUE_MAX_LENGTH else f"sha256:{sha256(name.encode()).hexdigest()}"


def _from_headers(headers: Mapping[str, str], data: Any) -> dict[str, Any]:
    """A CloudEvent whose attributes came as headers (the binding's binary mode)."""
    attributes = {
        name.removeprefix(_HEADER_PREFIX): unquote(value)
        for name, value in headers.items()
        if name.startswith(_HEADER_PREFIX)
    }
    return {**attributes, "data": data}


def _reason(place: int, error: ValidationError) -> Reason:
    code, detail = reason_of(error)
    return Reason(row=place, code=code, detail=detail)
