"""The estimator's likelihood for a single epoch, in plain Python: numpy's calls would cost more than the arithmetic.

With one level the information is an arrow: given the level, no effect knows of another. So effects are eliminated from
a Newton step, not the level, which leaves one equation and no matrix: with g_k = r_k − θ_k/τ² and a_k = v_k + 1/τ²,

    δα Σ v_k/(τ²a_k) = Σ (r_k − v_k g_k/a_k),      δθ_k = (g_k − v_k δα)/a_k
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.engine.likelihood import Family

Step = tuple[float, list[float]]
"""δα and δθ (K,)."""


@dataclass(slots=True)
class Point:
    """The level and the effects (K,), with everything Newton needs to know there."""

    level: float
    theta: list[float]
    value: float
    residual: list[float]
    weight: list[float]


@dataclass(frozen=True, slots=True)
class OneEpoch:
    """The penalised log-likelihood of totals y (K,) of n (K,) units, with −½·ridge·|θ|² for the prior."""

    family: Family
    n: Sequence[float]
    y: Sequence[float]
    ridge: float

    def start(self) -> Point:
        """The common level, and each variant's own (smoothed by one unit at the common mean), shrunk by the prior."""
        mean = sum(self.y) / sum(self.n)
        level = self.family.level(mean)
        variance = self.family.moments([level])[0][2]
        own = [(max(y, 0.0) + mean) / (n + 1) for n, y in zip(self.n, self.y, strict=True)]  # refunds may exceed sales
        apart = [self.family.level(each) - level for each in own]
        theta = [d * n * variance / (n * variance + self.ridge) for n, d in zip(self.n, apart, strict=True)]
        return self._look(level, theta)

    def step(self, here: Point) -> tuple[Step, float]:
        ridge, slack, excess = self.ridge, 0.0, 0.0
        for v, r, t in zip(here.weight, here.residual, here.theta, strict=True):
            loose = ridge / (v + ridge)
            slack += v * loose
            excess += (r + v * t) * loose
        level = excess / slack
        effect = [
            (r - ridge * t - v * level) / (v + ridge)
            for v, r, t in zip(here.weight, here.residual, here.theta, strict=True)
        ]
        return (level, effect), max(abs(level), *map(abs, effect))

    def move(self, here: Point, step: Step, length: float) -> Point:
        level, effect = step
        theta = [t + length * change for t, change in zip(here.theta, effect, strict=True)]
        return self._look(here.level + length * level, theta)

    def _look(self, level: float, theta: list[float]) -> Point:
        linear = [level + t for t in theta]
        moments = self.family.moments(linear)
        value, residual, weight = -.5 * self.ridge * sum(t * t for t in theta), [], []
        for n, y, eta, (cumulant, mean, variance) in zip(self.n, self.y, linear, moments, strict=True):
            value += y * eta - n * cumulant
            residual.append(y - n * mean)
            weight.append(n * variance)
        return Point(level, theta, value, residual, weight)


def information(weight: Sequence[float]) -> list[list[float]]:
    """L = diag(v) − vvᵀ/V (K, K), from v (K,)."""
    total = sum(weight)
    rows = [[-v / total * other for other in weight] for v in weight]
    for k, v in enumerate(weight):
        rows[k][k] += v
    return rows
