"""P(best) of correlated normal variants, such as the posterior of effects that share their epochs' levels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.engine.lattice import LATTICE_FROM, MAX_FACTORS, factor_points
from trimtab.engine.probability import Floats, best_of_normals, probability_best_normal
from trimtab.engine.quadrature import COARSE, ORDER
from trimtab.errors import InvalidInput

_NOTHING = 1e-9  # a factor with less than this share of a variant's own variance moves P(best) by less than that


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
        (K,) probabilities that add up to 1; within 1e-6 for up to two factors, 3e-4 beyond.

    Raises:
        InvalidInput: a value is not finite, or a precision not positive.
    """
    effect, covariance, precision = (np.asarray(value, float) for value in (mean, cov, prec_diag))
    _check(effect, covariance, precision)
    if len(effect) == 1:
        return np.ones(1)
    if len(effect) == 2:
        return _two(effect, covariance)
    factors, noise = _factors(covariance, precision)
    if factors.shape[1] == 0:
        return probability_best_normal(effect, np.sqrt(noise))
    unit = np.sqrt(noise.max())
    points, weight = factor_points((factors**2 / noise[:, None]).max(axis=0), len(effect))
    means = (effect - effect.max() + points @ factors.T) / unit
    order = COARSE if len(points) >= LATTICE_FROM else ORDER
    given = best_of_normals(means, np.broadcast_to(np.sqrt(noise) / unit, means.shape), order)
    mixed = weight @ given
    shares: Floats = mixed / mixed.sum()
    return shares


def _two(effect: Floats, covariance: Floats) -> Floats:
    """P(best) of two variants: one Φ of their standardised difference."""
    difference = effect[0] - effect[1]
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    certain = np.sign(difference) * np.inf if difference else 0.0
    z = difference / np.sqrt(variance) if variance > 0 else certain
    return np.array([float(ndtr(z)), float(ndtr(-z))])


def _factors(covariance: Floats, precision: Floats) -> tuple[Floats, Floats]:
    """Factor loadings (K, r) and each variant's own variance (K,), so that cov ≅ FFᵀ + diag(own) up to shifts."""
    own = 1 / precision
    share = precision / precision.sum()
    rest = covariance - np.diag(own)
    rest = rest - (rest @ share)[:, None] - (share @ rest)[None, :] + share @ rest @ share
    scale = np.sqrt(precision)
    left = scale[:, None] * rest * scale  # in units of each variant's own variance
    columns: list[Floats] = []
    while len(columns) < len(own):
        size = left.diagonal()
        largest = float(size.max())
        if largest < _NOTHING:
            break
        if len(columns) == MAX_FACTORS:
            own = own * (1 + np.maximum(size, 0))
            break
        # Rounded, so that of pivots equal but for the last bit the first is taken everywhere.
        pivot = int(np.argmax(np.round(size / largest, 6)))
        column = left[:, pivot] / np.sqrt(size[pivot])
        columns.append(column / scale)
        left = left - np.outer(column, column)
    return (np.stack(columns, axis=1) if columns else np.empty((len(own), 0))), own


def _check(effect: Floats, covariance: Floats, precision: Floats) -> None:
    size = len(effect) if effect.ndim == 1 else 0
    if size == 0 or covariance.shape != (size, size) or precision.shape != (size,):
        raise InvalidInput(
            f"mean, cov and prec_diag have shapes {effect.shape}, {covariance.shape} and {precision.shape}; "
            "expected (K,), (K, K) and (K,).",
            field="cov",
        )
    for name, values in (("mean", effect), ("cov", covariance), ("prec_diag", precision)):
        if not np.isfinite(values).all():
            raise InvalidInput(f"{name} holds a value that is not finite.", field=name)
    if not (precision > 0).all():
        raise InvalidInput("prec_diag holds a precision that is not above 0.", field="prec_diag")
