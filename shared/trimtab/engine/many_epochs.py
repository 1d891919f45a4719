"""The estimator's likelihood for any number of epochs, with a level for each.

Levels are eliminated from each Newton step, which leaves K equations: with r and v the residuals and weights (E, K),

    (L + I/τ²) δθ = Σₑ(rₑ − vₑ Σₖr_ek/Σₖv_ek) − θ/τ²,      δα_e = (Σₖr_ek − vₑ·δθ)/Σₖv_ek
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trimtab.engine.likelihood import Family, Floats

_TINY = 1e-300  # in place of 0, which an epoch without weight would divide by

Step = tuple[Floats, Floats]
"""δα (E,) and δθ (K,)."""


@dataclass(frozen=True, slots=True)
class Point:
    """Levels (E,) and effects (K,), with everything Newton needs to know there."""

    level: Floats
    theta: Floats
    value: float
    residual: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class ManyEpochs:
    """The penalised log-likelihood of totals y (E, K) of n (E, K) units, with −½·ridge·|θ|² for the prior."""

    family: Family
    n: Floats
    y: Floats
    ridge: float

    def start(self) -> Point:
        return self._look(self.family.levels(self.y.sum(axis=1) / self.n.sum(axis=1)), np.zeros(self.n.shape[1]))

    def step(self, here: Point) -> tuple[Step, float]:
        whole, excess = here.weight.sum(axis=1), here.residual.sum(axis=1)
        score = here.residual.sum(axis=0) - (excess / whole) @ here.weight - self.ridge * here.theta
        information, _ = laplacian(here.weight)
        information.flat[:: len(score) + 1] += self.ridge
        effect = np.linalg.solve(information, score)
        level = (excess - here.weight @ effect) / whole
        return (level, effect), float(max(np.abs(effect).max(), np.abs(level).max()))

    def move(self, here: Point, step: Step, length: float) -> Point:
        level, effect = step
        return self._look(here.level + length * level, here.theta + length * effect)

    def _look(self, level: Floats, theta: Floats) -> Point:
        linear = level[:, None] + theta
        cumulant, mean, variance = self.family.units(linear)
        value = float((self.y * linear - self.n * cumulant).sum() - .5 * self.ridge * (theta @ theta))
        return Point(level, theta, value, self.y - self.n * mean, self.n * variance)


def laplacian(weight: Floats) -> tuple[Floats, Floats]:
    """L = Σₑ diag(vₑ) − vₑvₑᵀ/Σₖv_ek and Σₑ vₑ, from v (E, K); epochs without weight add nothing."""
    level = np.maximum(weight.sum(axis=1), _TINY)
    precision = weight.sum(axis=0)
    information = -weight.T @ (weight / level[:, None])
    information.flat[:: len(precision) + 1] += precision
    return information, precision
