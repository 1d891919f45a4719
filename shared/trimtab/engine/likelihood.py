"""Log-likelihoods of effects θ with each epoch's level profiled out: value, gradient and weights v (E, K)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]


class Likelihood(Protocol):
    """A concave log-likelihood of (K,) effects."""

    def evaluate(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Log-likelihood, its gradient (K,), and v (E, K) of which L = Σₑ diag(vₑ) − vₑvₑᵀ/Σₖv_ek."""


@dataclass(frozen=True)
class Binary:
    """y_ek ~ Bin(n_ek, logit⁻¹(α_e + θ_k)); every epoch has a success and a failure."""

    n: Floats
    successes: Floats

    def evaluate(self, theta: Floats) -> tuple[float, Floats, Floats]:
        level = self._levels(theta)
        linear = level[:, None] + theta
        rate = expit(linear)
        expected = self.n * rate
        value = float((self.successes * linear - self.n * np.logaddexp(0, linear)).sum())
        return value, (self.successes - expected).sum(axis=0), expected * (1 - rate)

    def _levels(self, theta: Floats) -> Floats:
        """α_e that gives each epoch as many expected successes as it had.

        Newton on logit(mean rate), which is nearly linear in α; the answer lies within the spread of θ around the
        epoch's own logit, which bounds every step.
        """
        units = self.n.sum(axis=1)
        target = logit(self.successes.sum(axis=1) / units)
        low, high = target - theta.max(initial=0.0), target - theta.min(initial=0.0)
        level = target - (self.n @ theta) / units
        for _ in range(50):
            rate = expit(level[:, None] + theta)
            mean = (self.n * rate).sum(axis=1) / units
            slope = (self.n * rate * (1 - rate)).sum(axis=1) / (units * mean * (1 - mean))
            error = logit(mean) - target
            high, low = np.where(error > 0, level, high), np.where(error < 0, level, low)
            moved = level - error / np.maximum(slope, 1e-12)
            moved = np.where((moved >= low) & (moved <= high), moved, (low + high) / 2)
            if np.abs(moved - level).max(initial=0.0) < 1e-13 * (1 + np.abs(level).max(initial=0.0)):
                break
            level = moved
        return level


@dataclass(frozen=True)
class Share:
    """Shares of each epoch's total: π_ek ∝ n_ek e^{θ_k}; `total` is S_ek/φ, positive in every epoch."""

    n: Floats
    total: Floats

    def evaluate(self, theta: Floats) -> tuple[float, Floats, Floats]:
        epoch = self.total.sum(axis=1)
        top = theta.max(initial=0.0)  # keeps the exponential from overflowing
        mass = self.n * np.exp(theta - top)
        level = mass.sum(axis=1)
        expected = epoch[:, None] * mass / level[:, None]
        value = float(self.total.sum(axis=0) @ theta - epoch @ (np.log(level) + top))
        return value, (self.total - expected).sum(axis=0), expected
