"""`Engine.compute`: from counts and previous weights to guarded weights and an explanation, without a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.engine.explanation import (
    AllocationExplanation,
    AllocationResult,
    GuardrailExplanation,
    Moments,
    Observation,
    ObservationsSummary,
    Seen,
    StrategyExplanation,
)
from trimtab.engine.guardrails import Box, make_box
from trimtab.engine.observations import check_feasible, check_instants, check_observations, check_weights
from trimtab.engine.projection import project
from trimtab.engine.proposal import Known, check_objective, propose
from trimtab.engine.strategies import strategy
from trimtab.engine.totals import Totals, posterior_of
from trimtab.engine.verdicts import bound_by, verdicts
from trimtab.engine.wording import count, span
from trimtab.errors import InvalidInput
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import Verdict, VerdictCode
from trimtab.schema.experiment import MetricKind, Objective

_UNIT = 10**12  # weights here are floats, so the box is cut far finer than published parts
_DIRECTIONS = ("increase", "decrease")
_APPLIED = {
    VerdictCode.MAX_STEP: "max_step_clamp",
    VerdictCode.FLOOR: "min_weight_floor",
    VerdictCode.CEILING: "ceiling",
    VerdictCode.PIN: "pin",
    VerdictCode.STEP_WIDENED: "step_widened",
    VerdictCode.RELAXED: "relaxed",
    VerdictCode.ROOM: "normalize",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """Turns counts into the next weights under a strategy: `heuristic`, `thompson`, `top_two`, `fixed` or your own.

    `objective` says what traffic is for: `earn`, as the strategy proposes; `find-best`, as top-two sampling does;
    `mixed`, half of each. `kind` is the metric's: `binary` takes an `Observation` of each variant; `count`, `revenue`
    and `continuous` take its `Moments`. `direction` is which way of it is better, `increase` or `decrease`.

    Raises:
        InvalidInput (a ValueError): there is no such strategy, objective, kind or direction, or one cannot serve the
            other.
    """

    strategy: str = "heuristic"
    objective: str = Objective.EARN
    kind: str = MetricKind.BINARY
    direction: str = "increase"

    def __post_init__(self) -> None:
        strategy(self.strategy)
        for field, known in (("objective", Objective), ("kind", MetricKind), ("direction", _DIRECTIONS)):
            given = getattr(self, field)
            if given not in list(known):
                raise InvalidInput(
                    f"Unknown {field} {given!r}; choose one of {', '.join(known)}.", field=field, value=given
                )
        check_objective(self.strategy, Objective(self.objective))

    def compute(
        self,
        *,
        observations: Mapping[str, Observation] | Mapping[str, Moments],
        previous_weights: Mapping[str, float],
        constraints: Constraints | None = None,
        seed: int | None = None,
        last_updated_at_epoch_s: float | None = None,
        now_epoch_s: float | None = None,
    ) -> AllocationResult:
        """The next weights and why.

        Weights keep every constraint at once: floor, ceiling and step limit hold together and the sum is 1 within 1e-9.
        A hold, for lack of trials or within the cooldown, returns the previous weights as they were given.

        Counts are taken as one period with one base rate. Counts pooled over periods in which weights *and* base rates
        moved favour whoever had the traffic in the good times; the service keeps them apart, this function cannot.

        Args:
            observations: trials and successes, or moments, per variant; any non-blank id; order does not matter.
            previous_weights: shares in force, of the same variants, adding up to 1.
            constraints: limits; default `Constraints()`.
            seed: recorded in the explanation. P(best) is integrated, not drawn, so results do not depend on it.
            last_updated_at_epoch_s: when weights last changed, in seconds; None: never, and so no cooldown.
            now_epoch_s: the current instant; needed with `last_updated_at_epoch_s`.

        Raises:
            InvalidInput (a ValueError): the message names variant, field and value.
            ConfigurationError (an InvalidInput): limits that no weights can meet.
        """
        limits = constraints or Constraints()
        seen = check_observations(observations, MetricKind(self.kind))
        check_feasible(seen, limits)
        previous = check_weights(previous_weights, seen, limits.epsilon)
        passed = check_instants(last_updated_at_epoch_s, now_epoch_s)
        proposal, details = self._propose(seen, previous, limits, seed)
        held = _hold(seen, limits, passed)
        if held is not None:
            weights, guardrails = dict(previous_weights), held
        else:
            final, guardrails = _guard(previous, proposal, limits)
            weights = {variant: final[variant] for variant in previous_weights}
        return AllocationResult(
            weights=weights,
            explanation=AllocationExplanation(
                strategy=StrategyExplanation(self.strategy, details),
                observations=ObservationsSummary(
                    len(seen), sum(o.trials for o in seen.values()), sum(o.total for o in seen.values())
                ),
                previous_weights=dict(previous_weights),
                proposed_weights={variant: proposal[variant] for variant in previous_weights},
                final_weights=dict(weights),
                guardrails=guardrails,
            ),
        )

    def _propose(
        self, seen: Mapping[str, Seen], previous: Mapping[str, float], limits: Constraints, seed: int | None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        totals = Totals(
            trials=np.array([o.trials for o in seen.values()], float),
            mean=np.array([o.mean for o in seen.values()]),
            variance=np.array([o.variance for o in seen.values()]),
        )
        kind, higher_is_better = MetricKind(self.kind), self.direction == "increase"
        posterior = posterior_of(totals, kind, higher_is_better=higher_is_better)
        known = Known(
            trials=totals.trials,
            successes=totals.sums,
            previous=np.array(list(previous.values())),
            p_best_among=lambda places: posterior.p_best_among(places).round(9),
            higher_is_better=higher_is_better,
            kind=kind,
        )
        pinned = {k: limits.pins[variant] for k, variant in enumerate(seen) if variant in limits.pins}
        shares = dict(
            zip(seen, propose(self.strategy, Objective(self.objective), known, pinned).tolist(), strict=True)
        )
        details: dict[str, Any] = {"strategy": self.strategy, "seed": seed}
        if self.objective != Objective.EARN:
            details["objective"] = str(self.objective)
        elif self.strategy == "heuristic":
            return shares, {**details, "alpha": 1.0, "seed_used": False}
        columns = {name: values.tolist() for name, values in posterior.parameters.items()}
        by_variant = {variant: {name: columns[name][k] for name in columns} for k, variant in enumerate(seen)}
        p_best = dict(zip(seen, known.p_best_among(np.arange(len(seen))).tolist(), strict=True))
        return shares, {**details, "priors": posterior.prior, "posterior": by_variant, "p_best": p_best}


def _hold(
    seen: Mapping[str, Seen], limits: Constraints, passed: float | None
) -> GuardrailExplanation | None:
    if passed is not None and passed < limits.cooldown_seconds:
        return GuardrailExplanation(
            changed=False,
            hold_reason="cooldown",
            guardrails_applied=("cooldown_hold",),
            cooldown_remaining_s=limits.cooldown_seconds - passed,
            sentences=(f"Weights changed {span(passed)} ago and rest for {span(limits.cooldown_seconds)}.",),
        )
    below = {variant: o.trials for variant, o in seen.items() if o.trials < limits.min_trials}
    if not below:
        return None
    behind = min(below, key=lambda variant: (below[variant], variant))
    return GuardrailExplanation(
        changed=False,
        hold_reason="min_trials_not_met",
        guardrails_applied=("min_trials_hold",),
        variants_below_min_trials=below,
        sentences=(f"{behind} has {count(below[behind])} of the {count(limits.min_trials)} trials needed first.",),
    )


def _guard(
    previous: Mapping[str, float], proposal: Mapping[str, float], limits: Constraints
) -> tuple[dict[str, float], GuardrailExplanation]:
    variants, wanted = list(previous), list(proposal.values())
    whole = [round(weight * _UNIT) for weight in previous.values()]
    before = project(whole, [0] * len(whole), [_UNIT] * len(whole), _UNIT)  # the sum may be off by 1e-6
    box = make_box(variants, before, limits, unit=_UNIT)
    parts = box.nearest(wanted)
    weights = dict(zip(variants, (part / _UNIT for part in parts), strict=True))
    largest = max(abs(weights[variant] - previous[variant]) for variant in variants)
    found = verdicts(variants, box, wanted, parts)
    return weights, _explain(box, variants, wanted, parts, found, changed=largest > max(limits.epsilon, 1e-9))


def _explain(
    box: Box,
    variants: Sequence[str],
    wanted: Sequence[float],
    parts: Sequence[int],
    found: Sequence[Verdict],
    *,
    changed: bool,
) -> GuardrailExplanation:
    bounds = {variant: bound_by(k, box, wanted[k], parts[k]) for k, variant in enumerate(variants)}
    clamps, floors = {}, {}
    for k, variant in enumerate(variants):
        share = parts[k] / box.unit
        if bounds[variant] is VerdictCode.MAX_STEP:
            low, high = box.low(k) / box.unit, box.high(k) / box.unit
            clamps[variant] = {"raw": wanted[k], "clamped": share, "lo": low, "hi": high}
        if bounds[variant] is VerdictCode.FLOOR:
            floors[variant] = {"before": wanted[k], "after": share}
    return GuardrailExplanation(
        changed=changed,
        guardrails_applied=tuple(name for code, name in _APPLIED.items() if any(v.code is code for v in found)),
        max_step_clamps=clamps,
        min_weight_floors=floors,
        sentences=tuple(verdict.sentence for verdict in found),
    )
