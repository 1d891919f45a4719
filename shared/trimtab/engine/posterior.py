"""The posterior of effects, and P(best) under it: N(θ̂, (L + I/τ²)⁻¹)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.engine.correlated import best_given_factors, probability_best_mvn
from trimtab.engine.one_level import contrast_sds, one_level
from trimtab.engine.probability import Floats

_MOSTLY_OWN = 2.0  # a variance no more than twice what it is with known levels: factors stay small
_DIGITS = 9  # published parts must not hang on the last bits of a machine's exp()


@dataclass(frozen=True)
class Belief:
    """What is believed of effects: N(θ̂, (L + I/τ²)⁻¹), of which only contrasts mean anything.

    `theta` (K,) is on the model's scale, `information` L (K, K), `weight` Σv (K,), `ridge` 1/τ².
    """

    theta: Floats
    information: Floats
    weight: Floats
    ridge: float
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
        if prior_sd <= 0:
            nothing = np.zeros(len(effect))
            return cls(nothing, np.diag(nothing), nothing, 1.0, higher_is_better)
        matrix, weight = np.asarray(information, float), np.asarray(precision, float)
        return cls(effect, matrix, weight, 1 / prior_sd**2, higher_is_better)

    @cached_property
    def p_best(self) -> Floats:
        """(K,) P(best), rounded to 1e-9; where lower is better, P(lowest)."""
        return self._p_best(slice(None))

    def p_best_among(self, places: npt.NDArray[np.intp]) -> Floats:
        """(len(places),) P(best) among the variants at `places`, as if there were no others; rounded to 1e-9."""
        return self.p_best if len(places) == len(self.theta) else self._p_best(places)

    @property
    def effects(self) -> Floats:
        """(K,) effects against the average of all variants."""
        against: Floats = self.theta - self.theta.sum() / len(self.theta)
        return against

    @property
    def effect_sds(self) -> Floats:
        """(K,) standard deviations of `effects`."""
        if self._one_level is None:
            sds: Floats = np.sqrt(_contrast_variance(self.covariance))
            return sds
        return np.array(contrast_sds(*self._one_level))

    @cached_property
    def covariance(self) -> Floats:
        """(K, K) covariance of the effects, up to a shift that they have in common.

        1 is an eigenvector of L + I/τ²; giving it another eigenvalue adds a multiple of 11ᵀ to Σ, which no contrast
        sees. One like the others keeps the inverse well-conditioned however many trials there are.
        """
        size = len(self.theta)
        covariance = np.linalg.inv(self._contrast + self.weight.sum() / size**2)
        symmetric: Floats = (covariance + covariance.T) / 2
        return symmetric

    @cached_property
    def precision(self) -> Floats:
        """(K,) the diagonal of a D with D − (L + I/τ²) ⪰ 0 up to a common shift: given D variants are independent.

        Knowing the levels always gives one. Where variants met in few epochs, it claims far more than is known and
        leaves everything to the common factors; then the diagonal of L + I/τ², scaled by its largest eigenvalue, is
        closer.
        """
        given_levels: Floats = self.weight + self.ridge
        variance = _contrast_variance(self.covariance)
        loosest = (given_levels * variance).max()
        if loosest <= _MOSTLY_OWN:
            return given_levels
        diagonal = self._contrast.diagonal()
        scale = 1 / np.sqrt(diagonal)
        largest = np.linalg.eigvalsh(scale[:, None] * (self._contrast - self.ridge / len(scale)) * scale)[-1]
        scaled: Floats = diagonal * (largest * (1 + 1e-9))
        return scaled if (scaled * variance).max() < loosest else given_levels

    @cached_property
    def _contrast(self) -> Floats:
        """L + I/τ²."""
        contrast = self.information.copy()
        contrast.flat[:: len(contrast) + 1] += self.ridge
        return contrast

    @cached_property
    def _one_level(self) -> tuple[list[float], list[float]] | None:
        """Own sds and loads on the one common factor, if one is all there is."""
        return one_level(self.information.tolist(), self.weight.tolist(), self.ridge)

    def _p_best(self, among: npt.NDArray[np.intp] | slice) -> Floats:
        better = self.theta[among] if self.higher_is_better else -self.theta[among]
        if self._one_level is None:
            chances = probability_best_mvn(better, self.covariance[among][:, among], self.precision[among])
        else:
            own, load = map(np.array, self._one_level)
            chances = best_given_factors(better, own[among], load[among, None])
        return chances.round(_DIGITS)


def _contrast_variance(covariance: Floats) -> Floats:
    """(K,) variances of the effects against their average."""
    rows = covariance.sum(axis=1) / len(covariance)
    variance: Floats = np.maximum(covariance.diagonal() - 2 * rows + rows.sum() / len(rows), 0)
    return variance
