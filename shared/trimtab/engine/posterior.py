"""The posterior of effects, and P(best) under it: N(θ̂, (L + I/τ²)⁻¹)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.engine.correlated import probability_best_mvn
from trimtab.engine.probability import Floats

_DIGITS = 9  # published parts must not hang on the last bits of a machine's exp()


@dataclass(frozen=True)
class Belief:
    """Effects (K,) on the scale of the model with their covariance up to a common shift, and `noise` 1/precision."""

    theta: Floats
    covariance: Floats
    precision: Floats
    higher_is_better: bool

    @classmethod
    def of(
        cls,
        theta: npt.ArrayLike,
        information: npt.ArrayLike,
        precision: npt.ArrayLike,
        prior_sd: float,
        *,
        higher_is_better: bool = True,
    ) -> Belief:
        """The posterior from θ̂ (K,), L (K, K), Σv (K,) and τ; τ = 0 says that the data tell nothing apart."""
        effect = np.asarray(theta, float)
        size = len(effect)
        if prior_sd <= 0:
            return cls(np.zeros(size), np.eye(size), np.ones(size), higher_is_better)
        ridge = 1 / prior_sd**2
        given_levels = np.asarray(precision, float) + ridge
        # 1 is an eigenvector of L + I/τ²; giving it another eigenvalue adds a multiple of 11ᵀ to Σ, which no contrast
        # sees. One like the others keeps the inverse well-conditioned however many trials there are.
        common = (given_levels.mean() - ridge) / size
        covariance = np.linalg.inv(np.asarray(information, float) + ridge * np.eye(size) + common)
        return cls(effect, (covariance + covariance.T) / 2, given_levels, higher_is_better)

    @cached_property
    def p_best(self) -> Floats:
        """(K,) P(best), rounded to 1e-9; where lower is better, P(lowest)."""
        return np.round(self._p_best(np.arange(len(self.theta))), _DIGITS)

    def p_best_without(self, left_out: int) -> Floats:
        """(K,) P(best) among the others, 0 for the one left out."""
        others = np.delete(np.arange(len(self.theta)), left_out)
        result = np.zeros(len(self.theta))
        result[others] = np.round(self._p_best(others), _DIGITS)
        return result

    @cached_property
    def effects(self) -> Floats:
        """(K,) effects against the average of all variants."""
        against: Floats = self.theta - self.theta.mean()
        return against

    @cached_property
    def effect_sds(self) -> Floats:
        """(K,) standard deviations of `effects`."""
        rows = self.covariance.mean(axis=1)
        variance = self.covariance.diagonal() - 2 * rows + rows.mean()
        return np.sqrt(np.maximum(variance, 0))

    def _p_best(self, among: npt.NDArray[np.intp]) -> Floats:
        sign = 1.0 if self.higher_is_better else -1.0
        return probability_best_mvn(
            sign * self.theta[among], self.covariance[np.ix_(among, among)], self.precision[among]
        )
