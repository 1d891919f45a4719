"""Time as an argument: whoever needs "now" is handed a clock; instants are integer milliseconds or aware UTC."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import GetPydanticSchema, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

Clock = Callable[[], int]
"""Returns the current instant in integer milliseconds since the Unix epoch."""

MAX_INSTANT = 253_402_300_799_999
"""The last millisecond of the year 9999: beyond it no calendar library agrees with another."""


def system_clock() -> int:
    """The machine's wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def to_milliseconds(value: Any) -> Any:
    """An RFC 3339 string or an aware datetime as integer milliseconds; anything else is returned untouched."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("the instant names no offset from UTC; end it with Z or ±hh:mm")
        return round(value.timestamp() * 1000)
    return value


def to_rfc3339(milliseconds: int) -> str:
    """The instant as RFC 3339 in UTC with milliseconds, such as 2026-11-21T08:30:00.000Z."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _instant_schema(_source: Any, _handler: Any) -> core_schema.CoreSchema:
    """Integers first: they are what fast producers send, and cost no call into Python."""
    milliseconds = core_schema.int_schema(strict=True, ge=0, le=MAX_INSTANT)
    return core_schema.union_schema(
        [milliseconds, core_schema.no_info_before_validator_function(to_milliseconds, milliseconds)],
        mode="left_to_right",
        custom_error_type="instant",
        custom_error_message="an instant is RFC 3339 text with its offset from UTC, or integer milliseconds",
    )


_INSTANT_JSON: JsonSchemaValue = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_INSTANT}, {"type": "string", "format": "date-time"}]
}

Instant = Annotated[int, GetPydanticSchema(_instant_schema), WithJsonSchema(_INSTANT_JSON)]
"""A field that takes RFC 3339 text, an aware datetime or integer milliseconds and holds the latter."""
