"""The outcome event in its two encodings: one event as a row, many of one experiment and epoch as columns.

A row is a stream entry with the field `event`, a batch of columns one with the field `batch`; both are JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator, with_config
from typing_extensions import TypedDict

from trimtab.clock import Instant
from trimtab.ids import ExperimentId, MetricName, OpaqueId, VariantId
from trimtab.schema.base import SCHEMA_VERSION, Schema

EVENT_FIELD, BATCH_FIELD, CONTROL_FIELD = "event", "batch", "control"

MAX_EVENT_BYTES = 8 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_CONTROL_BYTES = 8 * MAX_BATCH_BYTES  # a definition with a thousand variants, all described at length, takes 6
MAX_BATCH_EVENTS = 50_000  # what fits 1 MiB at the 20-odd bytes a lean event takes

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
MAX_EPOCH = 2**31 - 1  # what every language has a plain integer for
Epoch = Annotated[int, Field(strict=True, ge=1, le=MAX_EPOCH)]
Origin = Literal["live", "import"]


class OutcomeEvent(Schema):
    """One trial: what happened to one unit, sent when its outcome window has closed.

    `epoch` is the allocation that served the unit (the flag client hands it out); where it is unknown, `exposed_at`
    finds it; an event with neither takes the epoch in force at its place in the log and is reported as unstamped.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1] = SCHEMA_VERSION
    experiment_id: ExperimentId
    variant: VariantId
    metrics: Annotated[dict[MetricName, Number], Field(min_length=1, max_length=32)]
    unit_id: OpaqueId | None = Field(
        None, description="What was randomised; required where the experiment counts or caps units."
    )
    event_id: OpaqueId | None = Field(None, description="Makes a repeated event recognisable wherever it comes from.")
    occurred_at: Instant
    epoch: Epoch | None = None
    exposed_at: Instant | None = None
    token: OpaqueId | None = Field(None, description="What the flag client gave out at exposure, where it signs.")
    segment: OpaqueId | None = None
    cell: OpaqueId | None = None
    propensity: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    features: Annotated[dict[str, str | bool | int | float | None], Field(max_length=32)] | None = None
    origin: Origin = "live"


def _as_typed_dict() -> Any:
    types = {}
    for name, field in OutcomeEvent.model_fields.items():
        whole = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        types[name] = whole if field.is_required() else NotRequired[whole]
    return with_config(OutcomeEvent.model_config)(TypedDict("EventRow", types))  # type: ignore[operator]


event_rows = TypeAdapter(_as_typed_dict()).validator
"""Validates an outcome event as a dictionary, field for field as `OutcomeEvent` does, in half the time; without the
adapter around it, which would take a third as much again."""


Column = Annotated[list[Any], Field(max_length=MAX_BATCH_EVENTS)]


class EventBatch(Schema):
    """Many events of one experiment, epoch and origin, column by column; every column has `n` values.

    `variant` holds indices into `variants`; `occurred_at` is `base` plus `offsets` in milliseconds. The publisher names
    itself and numbers its batches per partition, so that a batch sent twice counts once.
    """

    v: Literal[1] = SCHEMA_VERSION
    experiment_id: ExperimentId
    epoch: Epoch | None = None
    origin: Origin = "live"
    producer: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    sequence: Annotated[int, Field(strict=True, ge=1, lt=2**53)] | None = None
    sent_at: Instant = Field(description="When the batch was sealed; never changes when it is sent again.")
    n: Annotated[int, Field(strict=True, ge=1, le=MAX_BATCH_EVENTS)]
    variants: Annotated[list[VariantId], Field(min_length=1)]
    variant: Column
    base: Instant
    offsets: Column | None = None
    metrics: Annotated[dict[MetricName, Column], Field(min_length=1, max_length=32)]
    unit_id: Column | None = None
    event_id: Column | None = None
    exposed_at: Column | None = None
    token: Column | None = None
    segment: Column | None = None
    cell: Column | None = None
    propensity: Column | None = None
    features: Column | None = None

    @model_validator(mode="after")
    def _columns_have_n_values(self) -> Self:
        columns = {"variant": self.variant, **self.metrics}
        columns |= {name: getattr(self, name) for name in OPTIONAL_COLUMNS if getattr(self, name) is not None}
        for name, column in columns.items():
            if len(column) != self.n:
                raise ValueError(f"column {name!r} has {len(column)} values, not n = {self.n}")
        if (self.producer is None) != (self.sequence is None):
            raise ValueError("producer and sequence come together or not at all")
        return self


_DETAILS = ("token", "segment", "cell", "propensity", "features")
OPTIONAL_COLUMNS = ("offsets", "unit_id", "event_id", "exposed_at", *_DETAILS)
