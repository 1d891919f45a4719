"""Both families of the estimator: η_ek = α_e + θ_k, a level per epoch and an effect per variant, canonical link.

A family gives, for η, the cumulant b(η), the mean b'(η) and the variance b''(η) of one unit, so that

    log-likelihood = Σ yη − n·b(η),   its gradient in η: y − n·b'(η),   its curvature: v = n·b''(η)

for arrays as well as for a few plain floats, which need no numpy. The share model
π_ek ∝ n_ek e^{θ_k} is the Poisson family with its levels profiled out: same θ̂, same L.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

_EPSILON = 2.0**-53  # a rate of all but one in 10¹⁷ rounds to 1


class Family(Protocol):
    """One unit's distribution, given η."""

    def units(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        """b, b' and b'' at η (E, K)."""

    def moments(self, linear: Sequence[float], /) -> list[tuple[float, float, float]]:
        """b, b' and b'' at each of a few η."""

    def levels(self, mean: Floats, /) -> Floats:
        """η at which a unit's mean is `mean` (E,)."""

    def level(self, mean: float, /) -> float:
        """η at which a unit's mean is `mean`."""


class Binomial:
    """Success or failure: b(η) = ln(1 + e^η)."""

    def units(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        rate: Floats = expit(linear)
        return np.maximum(linear, 0) + np.log1p(np.exp(-np.abs(linear))), rate, rate * (1 - rate)

    def moments(self, linear: Sequence[float], /) -> list[tuple[float, float, float]]:
        found = []
        for eta in linear:
            odds = math.exp(-abs(eta))  # of the rarer outcome, so that nothing overflows
            rare = odds / (1 + odds)
            cumulant, rate = (math.log1p(odds), rare) if eta < 0 else (eta + math.log1p(odds), 1 - rare)
            found.append((cumulant, rate, rare * (1 - rare)))
        return found

    def levels(self, mean: Floats, /) -> Floats:
        level: Floats = logit(mean)
        return level

    def level(self, mean: float, /) -> float:
        return math.log(mean / max(1 - mean, _EPSILON))


class Poisson:
    """Totals in units of their dispersion: b(η) = e^η."""

    def units(self, linear: Floats, /) -> tuple[Floats, Floats, Floats]:
        rate = np.exp(linear)
        return rate, rate, rate

    def moments(self, linear: Sequence[float], /) -> list[tuple[float, float, float]]:
        return [(rate, rate, rate) for rate in map(math.exp, linear)]

    def levels(self, mean: Floats, /) -> Floats:
        return np.log(mean)

    def level(self, mean: float, /) -> float:
        return math.log(mean)
