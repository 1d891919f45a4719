"""What `Engine.compute` returns: weights, and an explanation a person or a dashboard can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one variant: `trials` units, `successes` of them, 0 ≤ successes ≤ trials."""

    trials: int
    successes: int

    @property
    def total(self) -> int:
        return self.successes

    @property
    def mean(self) -> float:
        return self.successes / self.trials if self.trials else 0.0

    @property
    def variance(self) -> float:
        return self.mean * (1 - self.mean)


@dataclass(frozen=True, slots=True)
class Moments:
    """What was seen of one variant: `trials` units, `mean` and sample `variance` (n − 1) of their values.

    With one trial the variance is 0; without any, so is the mean.
    """

    trials: int
    mean: float
    variance: float

    @property
    def total(self) -> float:
        return self.trials * self.mean


Seen = Observation | Moments


@dataclass(frozen=True, slots=True)
class StrategyExplanation:
    """Which strategy proposed, and the numbers it proposed from."""

    name: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ObservationsSummary:
    """How much was seen, over all variants; of a metric that is not binary, `total_successes` is its total."""

    num_variants: int
    total_trials: int
    total_successes: float


@dataclass(frozen=True, slots=True)
class GuardrailExplanation:
    """What the guardrails did.

    `guardrails_applied` names only those that fired: `min_trials_hold`, `cooldown_hold`, `max_step_clamp`,
    `min_weight_floor`, `ceiling`, `pin`, `step_widened`, `relaxed`, `normalize` (the others' limits left more or less
    room than was asked). `hold_reason` is None, `min_trials_not_met` or `cooldown`. `max_step_clamps` has, per variant
    that the step bound, {raw, clamped, lo, hi}; `min_weight_floors`, per variant that its floor bound, {before, after}.
    """

    changed: bool
    hold_reason: str | None = None
    guardrails_applied: tuple[str, ...] = ()
    max_step_clamps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    min_weight_floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    variants_below_min_trials: Mapping[str, int] = field(default_factory=dict)
    cooldown_remaining_s: float = 0.0
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AllocationExplanation:
    """Everything a decision was made from and went through."""

    strategy: StrategyExplanation
    observations: ObservationsSummary
    previous_weights: Mapping[str, float]
    proposed_weights: Mapping[str, float]
    final_weights: Mapping[str, float]
    guardrails: GuardrailExplanation

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain dictionaries, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class AllocationResult:
    """Shares per variant, adding up to 1 within 1e-9, and why."""

    weights: dict[str, float]
    explanation: AllocationExplanation
