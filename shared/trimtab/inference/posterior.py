"""From the model's contrast Δ ~ N(m, s²) to the difference δ in the metric's own unit.

The engine believes in effects on the model's scale. With control's mean u: δ = logit⁻¹(logit u + Δ) − u for a binary
metric, u(e^Δ − 1) for counts and revenue, Δ itself for a continuous one. Each is increasing, so probabilities need one
Φ; expectations are integrals over Δ, split at 0 where a loss has its kink.

u is control's mean as the model fits it, which is above 0 wherever any variant has had a success. The plain mean of a
control without successes is 0, and so would be every margin, tolerance and effect: it could never be beaten.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit, ndtr, ndtri

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_finite, check_not_negative, check_share
from trimtab.inference.pairs import pair_of
from trimtab.schema.experiment import Metric, MetricKind

if TYPE_CHECKING:
    from trimtab.engine import Belief, Cells

Floats = npt.NDArray[np.float64]

_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 9.0  # standard deviations; what lies beyond weighs 1e-19
_LEVEL_STEPS, _LEVEL_DIGITS = 50, 1e-12
_EDGE = 1e-12  # a mean of exactly 0 or 1 has no logit


@dataclass(frozen=True)
class EffectPosterior:
    """Δ ~ N(`mean`, `sd`²) on the model's scale; positive is a larger metric, `sd` 0 a point.

    `base` is control's fitted mean in the metric's unit, `unit` the size u that relative margins are shares of: |base|,
    or the standard deviation of a continuous metric.
    """

    kind: MetricKind
    mean: float
    sd: float
    base: float
    unit: float

    def __post_init__(self) -> None:
        check_finite("mean", self.mean)
        check_not_negative("sd", self.sd)
        check_finite("base", self.base)
        check_not_negative("unit", self.unit)
        if self.kind is MetricKind.BINARY and not 0 <= self.base <= 1:
            raise InvalidInput(f"base is {self.base!r}, not a rate from 0 to 1.", field="base", value=self.base)

    @classmethod
    def of(cls, belief: Belief, cells: Cells, metric: Metric, control: str, treatment: str) -> EffectPosterior:
        """The contrast treatment − control of what the engine believes of `cells`.

        Raises:
            InvalidInput: an unknown variant, or sums no such metric has.
        """
        pair_of(cells, metric.kind, control, treatment)
        j, k = cells.variants.index(control), cells.variants.index(treatment)
        covariance = belief.covariance
        variance = float(covariance[j, j] + covariance[k, k] - 2 * covariance[j, k])
        base = fitted_mean(cells, metric.kind, belief.theta, control)
        unit = math.sqrt(cells.variance_within()) if metric.kind is MetricKind.CONTINUOUS else abs(base)
        mean = float(belief.theta[k] - belief.theta[j])
        return cls(metric.kind, mean, math.sqrt(max(variance, 0.0)), base, unit)

    def difference(self, contrast: npt.ArrayLike) -> Floats:
        """δ at Δ = `contrast` (…)."""
        delta = np.asarray(contrast, float)
        if self.kind is MetricKind.CONTINUOUS:
            return delta
        if self.kind is MetricKind.BINARY:
            rate = min(max(self.base, _EDGE), 1 - _EDGE)
            moved: Floats = expit(logit(rate) + delta) - rate
            return moved
        return np.asarray(self.base * np.expm1(delta))

    def contrast(self, difference: float) -> float:
        """Δ at which δ is `difference`; ∓inf where no Δ gives it."""
        if self.kind is MetricKind.CONTINUOUS:
            return difference
        if self.kind is MetricKind.BINARY:
            rate = min(max(self.base, _EDGE), 1 - _EDGE)
            return float(logit(min(max(rate + difference, 0.0), 1.0)) - logit(rate))
        if self.base <= 0:
            return math.copysign(math.inf, difference) if difference else 0.0
        return math.log1p(difference / self.base) if difference > -self.base else -math.inf

    def above(self, difference: float) -> float:
        """P(δ > `difference`)."""
        edge = self.contrast(difference)
        if self.sd == 0 or math.isinf(edge):
            return float(self.mean > edge)
        return float(ndtr((self.mean - edge) / self.sd))

    def below(self, difference: float) -> float:
        """P(δ < `difference`)."""
        edge = self.contrast(difference)
        if self.sd == 0 or math.isinf(edge):
            return float(self.mean < edge)
        return float(ndtr((edge - self.mean) / self.sd))

    def interval(self, level: float) -> tuple[float, float]:
        """The central credible interval of δ."""
        reach = float(ndtri((1 + check_share("level", level)) / 2)) * self.sd
        return float(self.difference(self.mean - reach)), float(self.difference(self.mean + reach))

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of δ."""
        mean = self.expectation(lambda delta: delta)
        return mean, math.sqrt(max(self.expectation(lambda delta: (delta - mean) ** 2), 0.0))

    def expectation(self, of: Callable[[Floats], Floats]) -> float:
        """E[of(δ)] for a function that is smooth on either side of 0."""
        if self.sd == 0:
            return float(of(self.difference(self.mean)))
        low, high = self.mean - _REACH * self.sd, self.mean + _REACH * self.sd
        middle = min(max(0.0, low), high)
        return self._integral(of, low, middle) + self._integral(of, middle, high)

    def _integral(self, of: Callable[[Floats], Floats], low: float, high: float) -> float:
        if low >= high:
            return 0.0
        points = (low + high) / 2 + (high - low) / 2 * _NODES
        density = np.exp(-(((points - self.mean) / self.sd) ** 2) / 2) / (self.sd * math.sqrt(2 * math.pi))
        return float((high - low) / 2 * (_NODE_WEIGHTS @ (density * of(self.difference(points)))))


def fitted_mean(cells: Cells, kind: MetricKind, theta: Floats, variant: str) -> float:
    """The variant's mean by the additive model, epochs weighed by all traffic, in the metric's unit; 0 without units.

    Each epoch's level is the one that gives its total: Σ_k n_ek logit⁻¹(α_e + θ_k) = Y_e of a binary metric,
    S_e·e^θ/Σ_k n_ek e^θ_k of counts and revenue. A continuous metric's own mean is as good.
    """
    if kind is MetricKind.CONTINUOUS:
        return typical_mean(cells, variant)
    k, traffic, totals = cells.variants.index(variant), cells.counts.sum(axis=1), cells.sums.sum(axis=1)
    if not traffic.any():
        return 0.0
    if kind is MetricKind.BINARY:
        means = _fitted_rates(cells.counts, totals, theta)[:, k]
    else:
        factors = np.exp(theta - theta.max())
        means = totals * factors[k] / np.maximum(cells.counts @ factors, _EDGE)
    return float(traffic @ means / traffic.sum())


def _fitted_rates(n: Floats, successes: Floats, theta: Floats) -> Floats:
    """(E, K) logit⁻¹(α_e + θ_k) by Newton's method within a bracket that closes; 0 and 1 at their own ends."""
    traffic = n.sum(axis=1)
    some = (successes > 0) & (successes < traffic)
    rate = np.where(some, successes, 1.0) / np.where(some, traffic, 2.0)
    low, high = logit(rate) - theta.max(), logit(rate) - theta.min()
    level = (low + high) / 2
    for _ in range(_LEVEL_STEPS):
        rates = expit(level[:, None] + theta)
        excess = (n * rates).sum(axis=1) - successes
        low, high = np.where(excess > 0, low, level), np.where(excess > 0, level, high)
        moved = level - excess / np.maximum((n * rates * (1 - rates)).sum(axis=1), _EDGE)
        moved = np.where((moved >= low) & (moved <= high), moved, (low + high) / 2)
        still = bool((np.abs(moved - level)[some] < _LEVEL_DIGITS).all())
        level = moved
        if still:
            break
    edge = np.where(successes > 0, 1.0, 0.0)[:, None]
    fitted: Floats = np.where(some[:, None], expit(level[:, None] + theta), edge)
    return fitted


def typical_mean(cells: Cells, variant: str) -> float:
    """The variant's mean in the metric's unit, epochs weighed by all traffic: levels drift while its weight moves.

    0 without units.
    """
    k = cells.variants.index(variant)
    traffic = np.where(cells.counts[:, k] > 0, cells.counts.sum(axis=1), 0.0)
    means = cells.sums[:, k] / np.maximum(cells.counts[:, k], 1)
    return float(traffic @ means / traffic.sum()) if traffic.any() else 0.0
