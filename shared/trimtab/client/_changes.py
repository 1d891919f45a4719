"""What an order may change, and what follows from it: pure, so that `control` only reads, asks here and writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.layout import largest_remainder, nearest_within
from trimtab.ports import Published
from trimtab.schema.base import PARTS
from trimtab.schema.experiment import Experiment, Status

CHANGEABLE = frozenset(
    {
        "assignment_ratio",
        "constraints",
        "description",
        "exposure_tokens",
        "half_life_seconds",
        "max_outcomes_per_unit_hour",
        "min_sample_size",
        "objective",
        "planned_units",
        "recompute_seconds",
        "strategy",
        "thresholds",
        "variants",
    }
)
"""What `update` may change once an experiment runs: everything else would change what its statistics mean."""
_MERGED = ("constraints", "thresholds")  # fields of fields: those that are not named keep their values


MAX_SENTENCE = 1000  # characters; an allocation that explains itself at length would be too large for its clients


def fit(text: str) -> str:
    """What a person wrote, for ledger and allocation: cut where it is too long, and half a character made a whole one.

    An order must not fail for its reason: a terminal of another encoding, or a pasted trace, is all it takes.
    """
    return text[:MAX_SENTENCE].encode("utf-8", "replace").decode()


def check_variant(experiment: Experiment, variant: str | None) -> None:
    """Make sure that `variant`, if one is named, may be served.

    Raises:
        InvalidInput: it is unknown, or retired.
    """
    if variant is not None and variant not in experiment.active_ids:
        names = ", ".join(experiment.active_ids)
        raise InvalidInput(f"{variant!r} is no variant of {experiment.id!r}; they are {names}.", variant=variant)


def first_parts(experiment: Experiment) -> dict[str, int]:
    """The parts a start publishes: the configured shares, or those nearest to equal ones that the limits allow."""
    return _within_limits(experiment, experiment.initial_weights)


def without(parts: Mapping[str, int], halted: Iterable[str], experiment: Experiment) -> dict[str, int]:
    """The parts with those of `halted` shared among the others, within their floors, ceilings and pins.

    The step limit does not apply: harm ends at once. Where nobody else has any, control has all.
    """
    out = {*halted, *(variant.id for variant in experiment.variants if variant.retired)}
    left = {name: 0 if name in out else parts.get(name, 0) for name in experiment.variant_ids}
    total = sum(left.values())
    if not total:
        return {name: PARTS if name == experiment.control else 0 for name in experiment.variant_ids}
    return _within_limits(experiment, {name: n / total for name, n in left.items()}, out)


def _within_limits(
    experiment: Experiment, wanted: Mapping[str, float], out: Collection[str] = frozenset()
) -> dict[str, int]:
    """`wanted` brought within every variant's limits; those that are `out`, or were wanted nowhere, stay at 0."""
    limits = experiment.constraints
    served = {name: share for name, share in wanted.items() if share > 0 and name not in out}
    low, high = ({name: limit(name) for name in served} for limit in (limits.floor, limits.ceiling))
    if sum(high.values()) < 1:  # too few are left to keep under their ceilings
        high = dict.fromkeys(served, 1.0)
    shares = nearest_within(served, low, high)
    return largest_remainder({name: shares.get(name, 0.0) for name in wanted})


def changed(current: Published, changes: Mapping[str, Any]) -> Experiment:
    """The definition with `changes` made to it.

    Raises:
        ConfigurationError: a field that may not change, or a definition that contradicts itself.
    """
    experiment = current.experiment
    refused = sorted(set(changes) & {"id", "salt"} if current.status is Status.DRAFT else set(changes) - CHANGEABLE)
    if refused:
        raise ConfigurationError(
            f"Experiment {experiment.id!r} is {current.status}: {', '.join(refused)} cannot change; "
            f"what can is {', '.join(sorted(CHANGEABLE))}.",
            field=refused[0],
        )
    before = experiment.model_dump(mode="json")
    for name in _MERGED:
        part = changes.get(name)
        if isinstance(part, Mapping) and "preset" not in part:
            changes = {**changes, name: {**before[name], **part}}
    if current.status is not Status.DRAFT:
        _keeps_ratio(experiment, changes)
    after = Experiment.parse({**before, **changes})
    if current.status is not Status.DRAFT:
        _keeps_variants(experiment, after)
    return after


def _keeps_ratio(before: Experiment, changes: Mapping[str, Any]) -> None:
    """Make sure that a live experiment's assignment ratio stays as it was served, or goes.

    Raises:
        ConfigurationError: it would become another one, or one that does not know all variants.
    """
    ratio = changes.get("assignment_ratio", before.assignment_ratio)
    if ratio is None:
        return
    if ratio != before.assignment_ratio:
        raise ConfigurationError(
            f"assignment_ratio of {before.id!r} was served already and can only be taken away: set it to null.",
            field="assignment_ratio",
            value=ratio,
        )
    if len(changes.get("variants", before.variants)) > len(before.variants):
        raise ConfigurationError(
            f"assignment_ratio of {before.id!r} leaves nothing for another variant; set it to null first.",
            field="assignment_ratio",
            value=ratio,
        )


def _keeps_variants(before: Experiment, after: Experiment) -> None:
    """Make sure that a live experiment's variants were only added or retired.

    Raises:
        ConfigurationError: one was removed, moved or brought back.
    """
    if after.variant_ids[: len(before.variants)] != before.variant_ids:
        raise ConfigurationError(
            f"variants: {', '.join(before.variant_ids)} must stay, first and in this order; "
            "add new ones behind them, and retire those that should have no traffic.",
            field="variants",
        )
    for old, new in zip(before.variants, after.variants, strict=False):
        if old.retired and not new.retired:
            raise ConfigurationError(
                f"variants: {old.id!r} is retired for good; add it under another id.", field="variants", value=old.id
            )


def in_words(parts: Mapping[str, int]) -> str:
    """Parts as percentages, such as `control 50.0%, b 50.0%`."""
    return ", ".join(f"{name} {n / PARTS:.1%}" for name, n in parts.items())
