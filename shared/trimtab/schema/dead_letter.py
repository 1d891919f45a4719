"""Dead letters: events that cannot be applied, each with a reason from a closed set."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, ValidationError

from trimtab.schema.base import Schema

MAX_RAW_BYTES = 4096

MAX_DEAD_BYTES = 32 * 2**20
"""What a partition keeps of its letters, as JSON; the oldest leave first and are counted."""


class DeadLetterCode(StrEnum):
    """Why an event, a batch or an entry could not be counted."""

    UNKNOWN_ENTRY = "unknown_entry"  # neither event nor batch nor control
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    SCHEMA_VERSION = "schema_version"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    INVALID_CONTROL = "invalid_control"
    UNKNOWN_EXPERIMENT = "unknown_experiment"
    UNKNOWN_VARIANT = "unknown_variant"
    UNKNOWN_METRIC = "unknown_metric"
    UNKNOWN_EPOCH = "unknown_epoch"
    NOT_STARTED = "not_started"
    STOPPED = "stopped"
    INVALID_VALUE = "invalid_value"
    MISSING_UNIT = "missing_unit"
    TOO_LATE = "too_late"
    FUTURE = "future"
    SEQUENCE_GAP = "sequence_gap"
    CRASHED = "crashed"
    AUTH = "auth"


class DeadLetter(Schema):
    """Refused events of one entry, `n` of them for the same reason; `row` is the place of the first in a batch."""

    code: DeadLetterCode
    detail: str = Field(description="One sentence: which field, which value.")
    source: str = Field(description="Id of the stream entry it came in.")
    row: int | None = None
    rows: str | None = Field(None, description="Places of all of them in the batch, as `3,17-40`; None: all of it.")
    n: int = Field(1, description="How many events this letter stands for.")
    experiment_id: str | None = None
    field: Literal["event", "batch", "control"] | None = Field(None, description="The entry's field that it quotes.")
    raw: str = Field(description=f"The first {MAX_RAW_BYTES} bytes as they came, undecodable ones replaced.")
    complete: bool = Field(False, description="Whether `raw` is all of it, to the byte.")


def reason_of(error: ValidationError) -> tuple[DeadLetterCode, str]:
    """Code and sentence for what a schema refuses, by the first thing that is wrong; the sentence quotes no value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    kind, where, said = problem["type"], problem["loc"], problem["msg"]
    place = ".".join(str(part)[:64] for part in where)
    sentence = f"{place}: {said}" if place else said
    if kind == "json_invalid":
        return DeadLetterCode.NOT_JSON, sentence
    if where[:1] == ("v",):
        return DeadLetterCode.SCHEMA_VERSION, sentence
    if kind == "missing":
        return DeadLetterCode.MISSING_FIELD, sentence
    if where[:1] == ("metrics",) and len(where) > 1:
        return DeadLetterCode.INVALID_VALUE, sentence
    return DeadLetterCode.INVALID_FIELD, sentence
