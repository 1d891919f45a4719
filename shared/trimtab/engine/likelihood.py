"""Both likelihoods of the estimator: η_ek = α_e + θ_k, a level per epoch and an effect per variant, canonical link.

A family gives, for η (E, K), the cumulant b(η), the mean b'(η) and the variance b''(η) of one unit, so that

    log-likelihood = Σ yη − n·b(η),   its gradient in η: y − n·b'(η),   its curvature: v = n·b''(η)

The share model π_ek ∝ n_ek e^{θ_k} is the Poisson family with its levels profiled out: same θ̂, same L.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]


class Family(Protocol):
    """One unit's distribution, given η."""

    def moments(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        """b, b' and b'' at η (E, K)."""

    def link(self, mean: Floats, /) -> Floats:
        """η at which a unit's mean is `mean` (E,)."""


class Binomial:
    """Success or failure: b(η) = ln(1 + e^η)."""

    def moments(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        rate: Floats = expit(linear)
        return np.logaddexp(0, linear), rate, rate * (1 - rate)

    def link(self, mean: Floats, /) -> Floats:
        level: Floats = logit(mean)
        return level


class Poisson:
    """Totals in units of their dispersion: b(η) = e^η."""

    def moments(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        rate = np.exp(linear)
        return rate, rate, rate

    def link(self, mean: Floats, /) -> Floats:
        return np.log(mean)


@dataclass(frozen=True)
class Point:
    """Levels (E,) and effects (K,), with everything Newton needs to know there."""

    level: Floats
    theta: Floats
    value: float
    residual: Floats
    weight: Floats


def at(family: Family, n: Floats, y: Floats, ridge: float, level: Floats, theta: Floats) -> Point:
    """The penalised log-likelihood, −½·ridge·|θ|² included, the residuals y − n·b' and the weights v, both (E, K)."""
    linear = level[:, None] + theta
    cumulant, mean, variance = family.moments(linear)
    value = float((y * linear - n * cumulant).sum() - .5 * ridge * (theta @ theta))
    return Point(level, theta, value, y - n * mean, n * variance)
