"""From what a caller hands to `publish` to an event that can travel, or an error at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from trimtab.errors import InvalidInput, as_configuration_error
from trimtab.schema.event import MAX_EVENT_BYTES, OutcomeEvent

_to_json = OutcomeEvent.__pydantic_serializer__.to_json
_FIELDS = dict.fromkeys(OutcomeEvent.model_fields)


def as_event(given: OutcomeEvent | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> OutcomeEvent:
    """`given`, or an event made of a mapping and of keyword fields, checked to be fit for the log.

    A mapping may hold names we do not know (foreign producers add their own); a keyword may not, it would be a typo.

    Raises:
        InvalidInput: not an event, or one of more than 8 KiB; the message names the field.
    """
    event = given if isinstance(given, OutcomeEvent) and not fields else _build(given, fields)
    try:
        size = len(_to_json(event))
    except PydanticSerializationError as error:
        raise InvalidInput(f"event: it cannot be written as JSON ({error}).") from None
    if event.features:
        _check_features(event.features)
    if size > MAX_EVENT_BYTES:
        raise InvalidInput(
            f"event: it takes {size} bytes as JSON, and {MAX_EVENT_BYTES} are allowed; send fewer or shorter features.",
            value=size,
        )
    return event


def _check_features(features: Mapping[str, Any]) -> None:
    """The model's own serializer lets names pass that have no UTF-8; a batch, of plain dicts, cannot be written."""
    try:
        to_json(features, inf_nan_mode="null")
    except PydanticSerializationError:
        raise InvalidInput(
            f"event: features {list(map(ascii, features))} cannot be written as JSON: use names "
            "and values of text that UTF-8 can hold.",
            field="features",
        ) from None


def _build(given: OutcomeEvent | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> OutcomeEvent:
    if unknown := sorted(fields.keys() - _FIELDS.keys()):
        raise InvalidInput(
            f"event: there is no field {unknown[0]!r}; the fields are {', '.join(_FIELDS)}.",
            field=unknown[0],
        )
    if isinstance(given, OutcomeEvent):
        raise InvalidInput("event: give an OutcomeEvent or keyword fields, not both.")
    if not (given is None or isinstance(given, Mapping)):
        raise InvalidInput(f"event: give an OutcomeEvent, a mapping or keyword fields, not {type(given).__name__}.")
    try:
        return OutcomeEvent.model_validate({**(given or {}), **fields})
    except ValidationError as error:
        report = as_configuration_error(error, subject="event")
        raise InvalidInput(str(report), field=report.field, value=report.value) from None
