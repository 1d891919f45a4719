"""The posterior of effects, and P(best) under it: N(θ̂, (L + I/τ²)⁻¹)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.engine.correlated import probability_best_mvn
from trimtab.engine.probability import Floats

_MOSTLY_OWN = 2.0  # a variance no more than twice what it is with known levels: factors stay small
_DIGITS = 9  # published parts must not hang on the last bits of a machine's exp()


@dataclass(frozen=True)
class Belief:
    """Effects (K,) on the model's scale, their covariance up to a common shift, and a diagonal D ⪰ its inverse."""

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
        contrast = np.asarray(information, float) + ridge * np.eye(size)
        covariance = np.linalg.inv(contrast + common)
        covariance = (covariance + covariance.T) / 2
        return cls(effect, covariance, _tight(given_levels, contrast, ridge, covariance), higher_is_better)

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
        sds: Floats = np.sqrt(_contrast_variance(self.covariance))
        return sds

    def _p_best(self, among: npt.NDArray[np.intp]) -> Floats:
        sign = 1.0 if self.higher_is_better else -1.0
        return probability_best_mvn(
            sign * self.theta[among], self.covariance[np.ix_(among, among)], self.precision[among]
        )


def _tight(given_levels: Floats, contrast: Floats, ridge: float, covariance: Floats) -> Floats:
    """A diagonal D with D − (L + I/τ²) ⪰ 0 up to a common shift, so that given D variants are independent.

    Knowing the levels always gives one. Where variants met in few epochs, it claims far more than is known and leaves
    everything to the common factors; then the diagonal of L + I/τ², scaled by its largest eigenvalue, is closer.
    """
    variance = _contrast_variance(covariance)
    if float((given_levels * variance).max()) <= _MOSTLY_OWN:
        return given_levels
    size = len(given_levels)
    scale = 1 / np.sqrt(contrast.diagonal())
    largest = np.linalg.eigvalsh(scale[:, None] * (contrast - ridge / size) * scale)[-1]
    scaled: Floats = contrast.diagonal() * (largest * (1 + 1e-9))
    return scaled if (scaled * variance).max() < (given_levels * variance).max() else given_levels


def _contrast_variance(covariance: Floats) -> Floats:
    """(K,) variances of the effects against their average."""
    rows = covariance.mean(axis=1)
    variance: Floats = np.maximum(covariance.diagonal() - 2 * rows + rows.mean(), 0)
    return variance
