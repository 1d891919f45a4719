"""What `Engine.compute` refuses, each with the variant, the field and the value at fault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import Any

from trimtab.engine.explanation import Moments, Observation, Seen
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.constraints import Constraints
from trimtab.schema.experiment import MetricKind

_SUM_TOLERANCE = 1e-6
_MOST_TRIALS = 2**53  # up to here a float tells every count from the next one


def check_observations(observations: Mapping[str, Any], kind: MetricKind) -> dict[str, Seen]:
    """The observations sorted by variant id, with whole numbers of trials.

    Raises:
        InvalidInput: none at all, a blank id, counts that are negative, not whole or not finite, more successes than
            trials, or moments that no values of this kind can have.
    """
    _check_mapping("observations", observations)
    if not observations:
        raise InvalidInput("observations: there is no variant.", field="observations", value={})
    for variant in observations:
        if not isinstance(variant, str) or not variant.strip():
            raise InvalidInput(f"Variant id {variant!r} is not a non-blank string.", field="variant", value=variant)
    check = _check_observation if kind is MetricKind.BINARY else partial(_check_moments, kind)
    return {variant: check(variant, observations[variant]) for variant in sorted(observations)}


def check_weights(weights: Mapping[str, float], variants: Mapping[str, Any], epsilon: float) -> dict[str, float]:
    """The previous weights sorted by variant id.

    Raises:
        InvalidInput: none at all, other variants than observed, a weight outside [0, 1], or a sum other than 1.
    """
    _check_mapping("previous_weights", weights)
    if not weights:
        raise InvalidInput("previous_weights: there is no variant.", field="previous_weights", value={})
    missing, extra = sorted(variants.keys() - weights.keys()), sorted(map(str, weights.keys() - variants.keys()))
    if missing or extra:
        raise InvalidInput(
            f"previous_weights and observations name different variants: missing {missing}, extra {extra}.",
            field="previous_weights",
            value={"missing": missing, "extra": extra},
        )
    for variant, weight in weights.items():
        if not _is_number(weight) or not 0 <= weight <= 1:
            raise InvalidInput(
                f"previous_weights of variant {variant!r} is {weight!r}, not a share from 0 to 1.",
                field="previous_weights",
                variant=variant,
                value=weight,
            )
    total = math.fsum(weights.values())
    if abs(total - 1) > max(epsilon, _SUM_TOLERANCE):
        raise InvalidInput(f"previous_weights add up to {total!r}, not to 1.", field="previous_weights", value=total)
    return {variant: float(weights[variant]) for variant in sorted(weights)}


def check_feasible(variants: Mapping[str, Any], constraints: Constraints) -> None:
    """Refuse limits that no weights of these variants can meet, data or no data.

    Raises:
        ConfigurationError: floors above 1 or ceilings below 1 together, or a limit for a variant that is not there.
    """
    if not isinstance(constraints, Constraints):
        raise ConfigurationError(
            f"constraints are {constraints!r}, not Constraints(…).", field="constraints", value=constraints
        )
    for name in ("floors", "ceilings", "pins"):
        if strangers := sorted(getattr(constraints, name).keys() - variants.keys()):
            value = getattr(constraints, name)[strangers[0]]
            raise ConfigurationError(
                f"constraints.{name} gives {value!r} to {strangers[0]!r}, which was not observed.",
                field=name,
                variant=strangers[0],
                value=value,
            )
    floors, ceilings = sum(map(constraints.floor, variants)), sum(map(constraints.ceiling, variants))
    if floors > 1 + constraints.epsilon:
        highest = max(sorted(variants), key=constraints.floor)
        raise ConfigurationError(
            f"min_weight: the floors of {len(variants)} variants, with floors and pins of their own, add up to "
            f"{floors:.6g}, above 1; the highest is {constraints.floor(highest):.6g} of {highest!r}, and the largest "
            f"min_weight that fits all alike is {1 / len(variants):.6g}.",
            field="min_weight",
            variant=highest,
            value=constraints.floor(highest),
        )
    if ceilings < 1 - constraints.epsilon:
        lowest = min(sorted(variants), key=constraints.ceiling)
        raise ConfigurationError(
            f"ceilings: those of all variants, pins too, add up to {ceilings:.6g}, below 1; "
            f"the lowest is {constraints.ceiling(lowest):.6g} of {lowest!r}.",
            field="ceilings",
            variant=lowest,
            value=constraints.ceiling(lowest),
        )


def check_instants(last_updated_at_epoch_s: float | None, now_epoch_s: float | None) -> float | None:
    """Seconds since the last update; None if there was none. There is no clock in here, so one instant needs the other.

    Raises:
        InvalidInput: an instant is not a finite number, or `now_epoch_s` is missing.
    """
    given = {"last_updated_at_epoch_s": last_updated_at_epoch_s, "now_epoch_s": now_epoch_s}
    for name, value in given.items():
        if value is not None and not _is_number(value):
            raise InvalidInput(f"{name} is {value!r}, not a finite number of seconds.", field=name, value=value)
    if last_updated_at_epoch_s is None:
        return None
    if now_epoch_s is None:
        raise InvalidInput(
            "now_epoch_s is missing: with last_updated_at_epoch_s given, the cooldown needs both.", field="now_epoch_s"
        )
    return max(0.0, float(now_epoch_s) - float(last_updated_at_epoch_s))


def _check_observation(variant: str, observation: Any) -> Observation:
    trials, successes = (_whole(variant, observation, name) for name in ("trials", "successes"))
    if successes > trials:
        raise InvalidInput(
            f"successes of variant {variant!r} are {successes}, more than its {trials} trials.",
            field="successes",
            variant=variant,
            value=successes,
        )
    return Observation(trials, successes)


def _check_moments(kind: MetricKind, variant: str, moments: Any) -> Moments:
    trials = _whole(variant, moments, "trials")
    mean: Any = getattr(moments, "mean", None)
    variance: Any = getattr(moments, "variance", None)
    least, expected = (-math.inf, "a finite number") if kind is MetricKind.CONTINUOUS else (0, "a finite number ≥ 0")
    if not _is_number(mean) or mean < least:
        raise _wrong(variant, "mean", mean, f"{expected}, as {kind} is")
    if not _is_number(variance) or variance < 0:
        raise _wrong(variant, "variance", variance, "a finite number ≥ 0")
    if trials == 0 and mean != 0:
        raise _wrong(variant, "mean", mean, "0 without any trials")
    if trials < 2 and variance != 0:
        raise _wrong(variant, "variance", variance, "0 with fewer than two trials")
    return Moments(trials, float(mean), float(variance))


def _whole(variant: str, observation: Any, name: str) -> int:
    value: Any = getattr(observation, name, None)
    if not _is_number(value) or not 0 <= value <= _MOST_TRIALS or value != int(value):
        raise _wrong(variant, name, value, "a whole number from 0 to 2⁵³")
    return int(value)


def _wrong(variant: str, field: str, value: Any, expected: str) -> InvalidInput:
    return InvalidInput(
        f"{field} of variant {variant!r} is {value!r}, not {expected}.", field=field, variant=variant, value=value
    )


def _check_mapping(field: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInput(
            f"{field} is {value!r}; expected a mapping by variant id.", field=field, value=value
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(-math.inf < value < math.inf)  # type: ignore[operator]
