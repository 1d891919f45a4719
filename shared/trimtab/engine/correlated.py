"""P(best) of correlated normal variants, such as the posterior of effects that share their epochs' levels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.engine.lattice import MAX_FACTORS, factor_points
from trimtab.engine.probability import Floats, best_of_normals, numbers, probability_best_normal, refuse
from trimtab.engine.quadrature import COARSE, EXACT
from trimtab.errors import InvalidInput

_NOTHING = 1e-9  # a factor with less than this share of a variant's own variance moves P(best) by less than that
_ROUNDING = 1e-6  # of the largest entry: what more than this is no rounding
_AS_LARGE = 1 - 5e-7  # of pivots equal but for the last bits, the first is taken on every machine


def probability_best_mvn(mean: npt.ArrayLike, cov: npt.ArrayLike, prec_diag: npt.ArrayLike) -> Floats:
    """P(best) under N(mean, cov) when, given a few common factors, variants are independent; higher is better.

    `cov` − diag(1/prec_diag) must be positive semidefinite up to a shift common to all variants. For the additive
    model with a free level per epoch, D = diag(Σₑ v_ek + 1/τ²) does it: what the precision lacks is Σₑ vₑvₑᵀ/V_e ⪰ 0.
    Only contrasts decide who is best, so the rest is seen from the precision-weighted mean, P = I − 1qᵀ, which takes a
    rank away: B = P(cov − D⁻¹)Pᵀ. Given B's factors the one-dimensional quadrature applies; the factors are
    integrated over Gauss–Hermite or lattice points (STATISTICS §1).

    Factors come from pivoted Cholesky, largest first, and not from eigenvectors: those of equal eigenvalues are
    whatever the machine's LAPACK makes of the last bit, and decisions must replay anywhere.

    Args:
        mean: (K,) effects, finite, in any unit; variants in a fixed order, such as by id.
        cov: (K, K) their covariance, in that unit squared; any multiple of 11ᵀ may be added to it.
        prec_diag: (K,) precision of each variant given the factors, > 0.

    Returns:
        (K,) probabilities that add up to 1; within 1e-6 for one factor, 1e-4 beyond, 3e-4 from 20 variants on.

    Raises:
        InvalidInput: shapes do not fit, a value is not finite, a precision not positive, `cov` not symmetric, or less
            than 1/prec_diag leaves it.
    """
    effect, covariance, precision = numbers("mean", mean), numbers("cov", cov), numbers("prec_diag", prec_diag)
    _check(effect, covariance, precision)
    if len(effect) == 1:
        return np.ones(1)
    if len(effect) == 2:
        return _two(effect, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return best_given_factors(effect - effect.max(), *_factors(covariance, precision))


def best_given_factors(effect: Floats, own: Floats, loads: Floats) -> Floats:
    """P(best) (K,) of effects (K,) that are independent given r standard normal factors, unchecked.

    Args:
        effect: (K,) means, the largest near 0.
        own: (K,) sds given the factors, > 0.
        loads: (K, r) on the factors, in units of `own`.
    """
    if len(effect) == 1:
        return np.ones(1)
    largest = float(np.abs(loads).max(initial=0.0))
    if largest == 0:
        return probability_best_normal(effect, own)
    points, weight = factor_points(largest**2, *loads.shape[::-1])
    rule = EXACT if loads.shape[1] == 1 else COARSE
    spread = own[:, None]
    given = best_of_normals(effect[:, None] + (spread * loads) @ points, spread, rule)
    mixed: Floats = given @ weight
    return mixed


def _two(effect: Floats, variance: float) -> Floats:
    """P(best) of two variants: one Φ of their standardised difference."""
    difference = effect[0] - effect[1]
    certain = np.sign(difference) * np.inf if difference else 0.0
    z = difference / np.sqrt(variance) if variance > 0 else certain
    return np.array([float(ndtr(z)), float(ndtr(-z))])


def _factors(covariance: Floats, precision: Floats) -> tuple[Floats, Floats]:
    """Each variant's own sd (K,), and its loads F (K, r) on the factors in units of that.

    cov ≅ diag(own)(FFᵀ + I)diag(own), up to shifts that no contrast sees. What only more than `MAX_FACTORS` factors
    would explain is added to the variants' own.
    """
    left = _rest(covariance, precision)
    missing = left.diagonal() < -_ROUNDING * max(1.0, float(left.max()))
    refuse(missing, "cov", covariance.diagonal(), "at least 1/prec_diag, up to a shift common to all")
    own = 1 / np.sqrt(precision)
    loads: list[Floats] = []
    while len(loads) < len(own):
        size = left.diagonal()
        largest = float(size.max())
        if largest < _NOTHING:
            break
        if len(loads) == MAX_FACTORS:
            more = np.sqrt(1 + np.maximum(size, 0))
            return own * more, np.array(loads).T / more[:, None]
        pivot = int((size > largest * _AS_LARGE).argmax())
        loads.append(left[:, pivot] / math.sqrt(size[pivot]))
        left = left - loads[-1][:, None] * loads[-1]
    return own, np.array(loads).reshape(-1, len(own)).T


def _rest(covariance: Floats, precision: Floats) -> Floats:
    """B (K, K), which the factors explain, in units of each variant's own sd."""
    own = 1 / precision
    share = precision / precision.sum()
    rest = covariance.copy()
    rest.flat[:: len(own) + 1] -= own
    row = rest @ share
    rest -= (row - row @ share)[:, None]
    rest -= row
    scale = np.sqrt(precision)
    rest *= scale[:, None]
    rest *= scale
    return rest


def _check(effect: Floats, covariance: Floats, precision: Floats) -> None:
    size = len(effect) if effect.ndim == 1 else 0
    if size == 0 or covariance.shape != (size, size) or precision.shape != (size,):
        raise InvalidInput(
            f"mean, cov and prec_diag have shapes {effect.shape}, {covariance.shape} and {precision.shape}; "
            "expected (K,), (K, K) and (K,).",
            field="cov",
        )
    for name, values in (("mean", effect), ("cov", covariance)):
        refuse(~np.isfinite(values), name, values, "a finite number")
    refuse(~(np.isfinite(precision) & (precision > 0)), "prec_diag", precision, "a finite number above 0")
    apart = np.abs(covariance - covariance.T)
    refuse(apart > _ROUNDING * np.abs(covariance).max(), "cov", covariance, "what stands across the diagonal")
