"""The experiment: what is compared, by which metrics, under which limits, and in which state it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from trimtab.errors import IllegalTransition, as_configuration_error
from trimtab.ids import ExperimentId, MetricName, VariantId, new_salt
from trimtab.schema.base import SCHEMA_VERSION, Schema
from trimtab.schema.constraints import DEFAULT_MIN_WEIGHT, Constraints, Share
from trimtab.schema.thresholds import DecisionThresholds

MAX_VARIANTS = 1000
MAX_METRICS = 32  # an event carries at most 32 fields (RELIABILITY §4)
MOST_OUTCOMES_PER_UNIT_HOUR = 100  # more in an hour are a stream of readings, and no cap
# |value| · scale stays below 2⁵³, so that a value survives JSON, Lua and a float64 column unchanged.
MAX_SCALED_VALUE = 2**53 - 1


class Status(StrEnum):
    """Where an experiment stands; `transition` is the only way from one to the next."""

    DRAFT = "draft"
    RUNNING = "running"
    HELD = "held"
    STOPPED = "stopped"
    CONCLUDED = "concluded"


_NEXT: dict[Status, frozenset[Status]] = {
    Status.DRAFT: frozenset({Status.RUNNING}),
    Status.RUNNING: frozenset({Status.HELD, Status.STOPPED, Status.CONCLUDED}),
    Status.HELD: frozenset({Status.RUNNING, Status.STOPPED, Status.CONCLUDED}),
    Status.STOPPED: frozenset({Status.CONCLUDED}),
    Status.CONCLUDED: frozenset(),
}


def may_become(current: Status, target: Status) -> bool:
    """Whether an experiment may go from `current` to `target`."""
    return target in _NEXT[current]


def transition(experiment_id: str, current: Status, target: Status) -> Status:
    """`target`, if an experiment may go there from `current`.

    Raises:
        IllegalTransition: it may not; the message names the states it may go to.
    """
    if may_become(current, target):
        return target
    allowed = ", ".join(sorted(_NEXT[current])) or "nothing: this is the end"
    raise IllegalTransition(
        f"Experiment {experiment_id!r} is {current} and cannot become {target}; from here it can become {allowed}."
    )


class MetricKind(StrEnum):
    BINARY = "binary"
    COUNT = "count"
    CONTINUOUS = "continuous"
    REVENUE = "revenue"


class Objective(StrEnum):
    """What traffic is for: earn meanwhile, find the best soon, or half of each."""

    EARN = "earn"
    FIND_BEST = "find-best"
    MIXED = "mixed"


BUILT_IN_STRATEGIES = ("fixed", "heuristic", "thompson", "top_two")
CUSTOM_STRATEGY = r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+"
"""Names of strategies that others bring have a dot, so that a misspelt one of ours is refused before the start."""


# Values are stored as round-half-even(x · scale): whole numbers need no fraction, the others keep six digits.
_DEFAULT_SCALE = {
    MetricKind.BINARY: 1,
    MetricKind.COUNT: 1,
    MetricKind.CONTINUOUS: 1_000_000,
    MetricKind.REVENUE: 1_000_000,
}


class Metric(Schema):
    """The rule from outcomes to a number."""

    name: MetricName
    kind: MetricKind
    primary: bool = False
    direction: Literal["increase", "decrease"] = Field("increase", description="Which way is better.")
    scale: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(
        0, validate_default=False, description="Fixed-point factor, set at creation: sums are integers of x·scale."
    )
    cap: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Values beyond ±cap are clipped to it and counted (winsorising); fixed before the start."
    )
    harm_limit: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description="Makes this a guardrail metric: the most a variant may be worse than control."
    )

    @model_validator(mode="before")
    @classmethod
    def _default_scale(cls, data: Any) -> Any:
        if isinstance(data, dict) and "scale" not in data:
            match data.get("kind"):
                case str(kind) if kind in _DEFAULT_SCALE:
                    return {**data, "scale": _DEFAULT_SCALE[MetricKind(kind)]}
        return data

    @model_validator(mode="after")
    def _whole_numbers_are_not_scaled(self) -> Self:
        if self.kind in (MetricKind.BINARY, MetricKind.COUNT) and self.scale != 1:
            raise ValueError(f"a {self.kind} metric counts whole numbers, so its scale is 1, not {self.scale}")
        if self.kind is MetricKind.BINARY and self.cap is not None:
            raise ValueError("a binary metric is 0 or 1 and takes no cap")
        return self


class Variant(Schema):
    """What a unit sees."""

    id: VariantId
    description: str = Field("", max_length=1000)
    initial_weight: Share | None = Field(None, description="Share published at the start; default: equal shares.")
    entry_weight: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None,
        description="Share at which a variant added later waits for min_trials; default: .05, within its floor and "
        "ceiling, at most max_step or an equal share.",
    )
    retired: bool = Field(False, description="Served to nobody any more; its id is never used again.")


class Experiment(Schema):
    """One experiment's definition; `parse` is the way in for anything a person wrote."""

    v: Literal[1] = SCHEMA_VERSION
    id: ExperimentId
    description: str = Field("", max_length=10_000)
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=MAX_VARIANTS)]
    control: VariantId = Field(
        "", validate_default=False, description="The variant we fall back to; default: the first."
    )
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1, max_length=MAX_METRICS)]
    unit: Literal["unit", "event"] = Field(
        "unit",
        description="One trial is a unit, counted once, or an event; `event` forgoes SRM and always-valid claims.",
    )
    max_outcomes_per_unit_hour: Annotated[int, Field(ge=1, le=MOST_OUTCOMES_PER_UNIT_HOUR)] | None = Field(
        None,
        description="With unit `event`: how many outcomes of one unit count that occurred in the same hour; the first "
        "that come do, imports have no cap. Default: all count.",
    )
    strategy: Annotated[str, Field(max_length=64)] = Field(
        "thompson",
        description="How evidence becomes shares: one of ours, or one of your own, whose name has a dot.",
        json_schema_extra={"pattern": f"^({'|'.join(BUILT_IN_STRATEGIES)}|{CUSTOM_STRATEGY})$"},
    )
    objective: Objective = Field(
        Objective.EARN,
        description="What traffic is for: earn (as the strategy proposes), find-best (as top-two sampling does), or "
        "mixed (half of each).",
    )
    half_life_seconds: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = Field(
        None,
        description="Age at which outcomes count half, for allocation only, on the log's clock; default: they never "
        "fade.",
    )
    constraints: Constraints = Field(default_factory=Constraints)
    recompute_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = Field(
        60, description="How often weights are recomputed."
    )
    planned_units: Annotated[int, Field(ge=1)] | None = Field(None, description="Planned size of the experiment.")
    assignment_ratio: dict[VariantId, Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]] | None = Field(
        None, description="Of an A/B test (strategy fixed): the share of units that each variant is assigned."
    )
    min_sample_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Of an A/B test: units each group needs before a verdict; default: constraints.min_trials."
    )
    exposure_tokens: bool = Field(
        False, description="Whether an outcome counts only with the token that a signing flag client gave at exposure."
    )
    thresholds: DecisionThresholds = Field(
        default_factory=DecisionThresholds, description="When to ship or stop, by the primary metric."
    )
    salt: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default_factory=new_salt, description="Salt of the bucket rule; random, never changes."
    )

    @classmethod
    def parse(cls, data: Any) -> Self:
        """An experiment from what a person wrote.

        Raises:
            ConfigurationError: one sentence that names the field at fault.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            subject = data.get("id") if isinstance(data, dict) else None
            named = f"experiment {subject!r}" if subject else "experiment"
            raise as_configuration_error(error, subject=named) from None

    @model_validator(mode="before")
    @classmethod
    def _first_variant_is_control(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("control"):
            match data.get("variants"):
                case [{"id": str(first)}, *_] | [Variant(id=first), *_]:
                    return {**data, "control": first}
        return data

    @model_validator(mode="before")
    @classmethod
    def _ratio_lowers_the_default_floor(cls, data: Any) -> Any:
        """A default that nobody asked for should not refuse a share of .01 that somebody did."""
        if not isinstance(data, dict) or not isinstance(data.get("assignment_ratio"), dict):
            return data
        limits, shares = data.get("constraints", {}), data["assignment_ratio"].values()
        if not isinstance(limits, dict) or {"min_weight", "preset"} & set(limits):
            return data
        least = min([DEFAULT_MIN_WEIGHT, *(share for share in shares if isinstance(share, float) and share > 0)])
        return {**data, "constraints": {**limits, "min_weight": least}}

    @field_validator("strategy", mode="after")
    @classmethod
    def _known_strategy(cls, name: str) -> str:
        if name not in BUILT_IN_STRATEGIES and not re.fullmatch(CUSTOM_STRATEGY, name):
            raise ValueError(
                f"unknown strategy {name!r}; choose one of {', '.join(BUILT_IN_STRATEGIES)}, "
                "or one of your own, whose name has a dot, such as acme.softmax"
            )
        return name

    @field_validator("metrics", mode="after")
    @classmethod
    def _one_primary_metric(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        names = [metric.name for metric in metrics]
        if repeated := _first_repeated(names):
            raise ValueError(f"metric {repeated!r} is named twice")
        primaries = [metric.name for metric in metrics if metric.primary]
        if len(metrics) == 1 and not primaries:
            return (metrics[0].model_copy(update={"primary": True}),)
        if len(primaries) != 1:
            raise ValueError(f"exactly one metric is primary; {len(primaries)} of {', '.join(names)} are marked so")
        return metrics

    @field_validator("variants", mode="after")
    @classmethod
    def _variants_differ(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if repeated := _first_repeated([variant.id for variant in variants]):
            raise ValueError(f"variant id {repeated!r} is used twice")
        return variants

    @model_validator(mode="after")
    def _only_events_are_capped(self) -> Self:
        if self.max_outcomes_per_unit_hour is not None and self.unit == "unit":
            raise ValueError(
                "max_outcomes_per_unit_hour belongs to unit 'event'; with unit 'unit' each unit counts once anyway: "
                "leave it out, or choose unit 'event'"
            )
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> Self:
        if self.strategy == "fixed" and self.objective is not Objective.EARN:
            raise ValueError(f"objective {self.objective} moves traffic, which strategy fixed never does")
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        ids, limits = self.active_ids, self.constraints
        if self.control not in ids:
            raise ValueError(f"control {self.control!r} is not among the variants {', '.join(ids) or 'that serve'}")
        for field in ("floors", "ceilings", "pins"):
            for variant in getattr(limits, field):
                if variant not in self.variant_ids:
                    raise ValueError(f"constraints.{field} names {variant!r}, which is not one of {', '.join(ids)}")
        floors, ceilings = sum(map(limits.floor, ids)), sum(map(limits.ceiling, ids))
        if floors > 1 + 1e-9:
            raise ValueError(
                f"constraints.min_weight: the floors of {len(ids)} variants add up to {floors:.6g}, above 1; the "
                f"highest is {max(map(limits.floor, ids)):.6g}, and the largest min_weight that fits all alike is "
                f"{1 / len(ids):.6g}"
            )
        if ceilings < 1 - 1e-9:
            raise ValueError(f"constraints.ceilings: the ceilings of all variants add up to {ceilings:.6g}, below 1")
        return self

    @model_validator(mode="after")
    def _only_an_ab_test_has_a_ratio_and_a_sample_size(self) -> Self:
        for field in ("assignment_ratio", "min_sample_size"):
            if getattr(self, field) is not None and self.strategy != "fixed":
                raise ValueError(
                    f"{field} belongs to A/B tests, whose weights stay; strategy {self.strategy!r} moves them: "
                    f"choose strategy 'fixed', or leave {field} out"
                )
        return self

    @model_validator(mode="after")
    def _assignment_ratio_fits(self) -> Self:
        ratio = self.assignment_ratio
        if ratio is None:
            return self
        if unknown := [name for name in ratio if name not in self.variant_ids]:
            known = ", ".join(self.variant_ids)
            raise ValueError(f"assignment_ratio names {unknown[0]!r}, which is not one of {known}")
        if missing := [name for name in self.variant_ids if name not in ratio]:
            raise ValueError(f"assignment_ratio gives no share to {missing[0]!r}; it takes one for every variant")
        if any(variant.initial_weight is not None for variant in self.variants):
            raise ValueError("assignment_ratio and variants.initial_weight say the same; give one of them")
        if abs(sum(ratio.values()) - 1) > 1e-6:
            raise ValueError(f"assignment_ratio: the shares add up to {sum(ratio.values()):.6g}, not to 1")
        self._starts_within_limits("assignment_ratio", ratio)
        return self

    @model_validator(mode="after")
    def _initial_weights_fit(self) -> Self:
        given = [variant.initial_weight for variant in self.variants if variant.initial_weight is not None]
        # A variant added later has none, but an entry weight.
        if given and len(given) != len(self.variants) and abs(sum(given) - 1) > 1e-6:
            raise ValueError("variants.initial_weight: give it for every variant or for none")
        if given and abs(sum(given) - 1) > 1e-6:
            raise ValueError(f"variants.initial_weight: the shares add up to {sum(given):.6g}, not to 1")
        weights = {v.id: v.initial_weight for v in self.variants if v.initial_weight is not None}
        self._starts_within_limits("variants.initial_weight", weights)
        entering = {v.id: v.entry_weight for v in self.variants if v.entry_weight is not None}
        self._starts_within_limits("variants.entry_weight", entering)
        return self

    def _starts_within_limits(self, field: str, weights: Mapping[str, float]) -> None:
        limits, active = self.constraints, self.active_ids
        for variant, weight in weights.items():
            low, high = limits.floor(variant), limits.ceiling(variant)
            if variant in active and not low - 1e-9 <= weight <= high + 1e-9:
                raise ValueError(
                    f"{field}: {variant!r} begins at {weight:g}, outside its limits of {low:g} to {high:g}"
                )

    @property
    def variant_ids(self) -> tuple[str, ...]:
        return tuple(variant.id for variant in self.variants)

    @property
    def active_ids(self) -> tuple[str, ...]:
        """Ids of the variants that may be served."""
        return tuple(variant.id for variant in self.variants if not variant.retired)

    @property
    def primary_metric(self) -> Metric:
        return next(metric for metric in self.metrics if metric.primary)

    @property
    def initial_weights(self) -> dict[str, float]:
        """Shares published at the start: the configured ones, or equal ones."""
        equal, ratio = 1 / len(self.active_ids), self.assignment_ratio or {}
        given = {v.id: ratio.get(v.id, v.initial_weight) for v in self.variants if not v.retired}
        shares = {variant: equal if share is None else share for variant, share in given.items()}
        return {variant: shares.get(variant, 0.0) for variant in self.variant_ids}

    @property
    def least_units(self) -> int:
        """Units each of two variants needs before anything is said of them."""
        return self.constraints.min_trials if self.min_sample_size is None else self.min_sample_size


def _first_repeated(names: list[str]) -> str | None:
    return next((name for place, name in enumerate(names) if name in names[:place]), None)
