"""From a variant to a typed flag value, and from a tracked action to an outcome. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from trimtab.client._assignments import Assignment
from trimtab.schema.allocation import Allocation

Values = Mapping[str, Mapping[str, Any]]
"""Experiment → variant → value."""

_SWITCHES = {"on": True, "true": True, "enabled": True, "off": False, "false": False, "disabled": False}


class NoValue(Exception):
    """The served variant has no value of the type asked for; the text says which it needs."""


def value_of(kind: type, allocation: Allocation, served: Assignment, values: Mapping[str, Any] | None) -> Any:
    """The served variant as a value of `kind`: `bool`, `str`, `int`, `float` or `dict` (any object).

    With `values`, what they give for the variant. Without: as text the variant's id; as an object the assignment; as a
    boolean what the id says (on, off, true, …), or of two variants whether it is the treatment. Numbers need `values`.

    Raises:
        NoValue: there is no value of that type.
    """
    variant = served.variant or ""
    if values is not None:
        if variant not in values:
            raise NoValue(f"values name nothing for variant {variant!r} of {allocation.experiment_id!r}")
        return _typed(kind, values[variant])
    if kind is str:
        return variant
    if kind is dict:
        return {**served._asdict(), "reason": str(served.reason)}
    if kind is bool:
        if all(name.lower() in _SWITCHES for name in (variant, *allocation.weights)):
            return _SWITCHES[variant.lower()]
        if len(allocation.weights) == 2:
            return variant != allocation.control
    name = allocation.experiment_id
    raise NoValue(f"variant {variant!r} is no {kind.__name__}: give the provider values for {name!r}")


def _typed(kind: type, value: Any) -> Any:
    """`value` if it is of `kind`; an integer is a float, a boolean is no number."""
    if kind is dict and isinstance(value, Mapping):
        return dict(value)
    if kind is dict and isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return list(value)
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (bool, str) and isinstance(value, kind):
        return value
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    raise NoValue(f"the value is of type {type(value).__name__}, not {kind.__name__}")


class Served(NamedTuple):
    """What a unit was served of an experiment, as an outcome has to say it."""

    variant: str
    epoch: int
    propensity: float


def served_from(attributes: Mapping[str, Any]) -> Served | None:
    """What a caller says was served, if it says all of it: an evaluation's variant and metadata, carried along."""
    variant, epoch, propensity = (attributes.get(name) for name in ("variant", "epoch", "propensity"))
    if isinstance(variant, str) and isinstance(epoch, int) and isinstance(propensity, (int, float)):
        return Served(variant, epoch, propensity)
    return None


def outcome(
    experiment_id: str,
    unit_id: str,
    served: Served,
    metrics: Mapping[str, float],
    occurred_at: datetime | int,
    event_id: str | None = None,
) -> dict[str, Any]:
    """The outcome event; metrics not in it say nothing about the unit."""
    fields: dict[str, Any] = {
        "experiment_id": experiment_id,
        "unit_id": unit_id,
        "variant": served.variant,
        "epoch": served.epoch,
        "propensity": served.propensity,
        "metrics": dict(metrics),
        "occurred_at": occurred_at,
    }
    return fields if event_id is None else {**fields, "event_id": event_id}


def metrics_of(name: str, value: float | None, attributes: Mapping[str, Any]) -> dict[str, float]:
    """What a tracked action measured: `attributes["metrics"]` as a whole, else `name` with `value`, 1 without one."""
    given = attributes.get("metrics")
    if isinstance(given, Mapping):
        return {str(metric): float(number) for metric, number in given.items()}
    return {name: 1.0 if value is None else float(value)}
