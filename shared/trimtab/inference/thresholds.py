"""The bounds of the decision contract."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_not_negative, check_positive, check_share


@dataclass(frozen=True)
class DecisionThresholds:
    """When to ship, stop or go on. Probabilities lie strictly between 0 and 1, and all comparisons are strict.

    `min_practical_effect` is in the metric's unit, `min_relative_effect` a share of u, which is |control's mean| or,
    for a continuous metric, the standard deviation; the larger of the two is the margin of "better" and "harmful".
    `expected_loss_tolerance` is a share of u where `tolerance_is_relative`, else in the metric's unit.

    Raises:
        InvalidInput: a bound outside its range.
    """

    expected_loss_tolerance: float = .01
    p_positive: float = .95
    p_better: float = .80
    futility: float = .05
    harm: float = .90
    min_practical_effect: float = 0.0
    min_relative_effect: float = .02
    tolerance_is_relative: bool = True

    def __post_init__(self) -> None:
        check_positive("expected_loss_tolerance", self.expected_loss_tolerance)
        for name in ("p_positive", "p_better", "futility", "harm"):
            check_share(name, getattr(self, name))
        for name in ("min_practical_effect", "min_relative_effect"):
            check_not_negative(name, getattr(self, name))
        if self.futility >= self.p_better:
            raise InvalidInput(
                f"futility is {self.futility!r}, not below p_better {self.p_better!r}.",
                field="futility",
                value=self.futility,
            )

    @classmethod
    def absolute(cls, *, min_practical_effect: float = .02, expected_loss_tolerance: float = .01) -> DecisionThresholds:
        """The seed's: margin and tolerance in the metric's own unit, whatever its size."""
        return cls(
            expected_loss_tolerance=expected_loss_tolerance,
            min_practical_effect=min_practical_effect,
            min_relative_effect=0.0,
            tolerance_is_relative=False,
        )

    def margin(self, unit: float) -> float:
        """The least difference that matters, in the metric's unit; `unit` is u ≥ 0."""
        return max(self.min_practical_effect, self.min_relative_effect * unit)

    def tolerance(self, unit: float) -> float:
        """The expected loss one accepts, in the metric's unit; `unit` is u ≥ 0."""
        return self.expected_loss_tolerance * (unit if self.tolerance_is_relative else 1.0)
