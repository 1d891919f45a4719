"""Events of one experiment, epoch and origin as one `EventBatch` in JSON: pure, and fast enough to never be in the way.

The document is written as plain dicts and lists. The events were validated one by one when they were published; a test
holds the result against the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import to_json

from trimtab.schema.base import SCHEMA_VERSION
from trimtab.schema.event import OutcomeEvent

_OPTIONAL = ("unit_id", "event_id", "exposed_at", "token", "segment", "cell", "propensity", "features")
_EXACT = 2.0**53  # up to here a float holds every integer


def encode(
    events: Sequence[OutcomeEvent], metrics: Iterable[str], *, producer: str | None, sequence: int | None, sent_at: int
) -> bytes:
    """The batch of `events`, which share experiment, epoch and origin; `metrics` are all names that occur in them.

    Without `producer` and `sequence`, a batch that is sent twice is known by its event ids only.
    """
    rows = [vars(event) for event in events]
    variants = [row["variant"] for row in rows]
    place = {variant: index for index, variant in enumerate(dict.fromkeys(variants))}
    times = [row["occurred_at"] for row in rows]
    base = min(times)
    measured = [row["metrics"] for row in rows]
    document: dict[str, Any] = {
        "v": SCHEMA_VERSION,
        "experiment_id": events[0].experiment_id,
        "epoch": events[0].epoch,
        "origin": events[0].origin,
        "producer": producer,
        "sequence": sequence,
        "sent_at": sent_at,
        "n": len(events),
        "variants": list(place),
        "variant": [place[variant] for variant in variants],
        "base": base,
        "metrics": {name: _shortest([values.get(name) for values in measured]) for name in metrics},
    }
    if max(times) > base:
        document["offsets"] = [time - base for time in times]
    for name in _OPTIONAL:
        column = [row[name] for row in rows]
        if column.count(None) < len(column):
            document[name] = column
    return to_json(document, inf_nan_mode="null")


def metric_names(events: Iterable[OutcomeEvent]) -> dict[str, None]:
    """Names of all metrics in `events`, in order of first appearance."""
    names: dict[str, None] = {}
    for event in events:
        if event.metrics.keys() - names.keys():
            names |= dict.fromkeys(event.metrics)
    return names


def _shortest(column: list[Any]) -> list[Any]:
    """`column` with whole numbers as integers: `1` for `1.0`, which most metrics consist of."""
    if column.count(None) or not all(map(float.is_integer, column)):
        return column
    return list(map(int, column)) if -_EXACT < min(column) <= max(column) < _EXACT else column
