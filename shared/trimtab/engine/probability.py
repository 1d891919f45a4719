"""P(best): the chance that each variant is truly the best, by deterministic quadrature.

One idea serves every family: the maximum of independent variants has the distribution function F = Π Fⱼ, and

    P(k best) = ∫ fₖ Π_{j≠k} Fⱼ dx = ∫ (fₖ / Fₖ) · F dx                                  (STATISTICS §1)

All variants share one grid of Gauss–Legendre panels that lives only where the maximum can be, and whose panels are as
narrow as the narrowest variant still undecided there. So the work is (nodes × variants), never variants squared, and
variants whose spreads differ by many orders of magnitude cost a few panels more instead of accuracy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, expit, ndtr, psi, zeta

from trimtab.engine.quadrature import CHUNK_VALUES, ORDER, TAIL, nodes, panels, split
from trimtab.errors import InvalidInput

Floats = npt.NDArray[np.float64]

_SQRT_2PI = float(np.sqrt(2 * np.pi))
_LEAST_SPREAD = 1e-9  # spreads below this share of the widest act as this: a point mass is a limit, not a case
_TAIL_EXPONENT = 30.0  # e⁻³⁰ ≈ 1e-13: where an exponential tail may be cut off


def probability_best_normal(mean: npt.ArrayLike, sd: npt.ArrayLike) -> Floats:
    """P(best) of independent normal variants; higher is better.

    Args:
        mean: (…, K) finite means, in any unit.
        sd: (…, K) finite standard deviations ≥ 0 in the same unit; broadcast against `mean`.

    Returns:
        (…, K) probabilities that add up to 1 within 1e-9, each within 1e-6 of the truth. Variants that are exactly
        equal and certain (sd 0) share their probability.

    Raises:
        InvalidInput: a mean or sd is not finite, an sd is negative, or there is no variant.
    """
    means, sds = np.broadcast_arrays(np.asarray(mean, float), np.asarray(sd, float))
    _refuse(~np.isfinite(means), "mean", means, "is not finite")
    _refuse(~(np.isfinite(sds) & (sds >= 0)), "sd", sds, "is not a finite number ≥ 0")
    shape = _variants_last(means.shape)
    if shape[-1] == 1 or means.size == 0:
        return np.ones(shape)
    flat_means, flat_sds = means.reshape(-1, shape[-1]), sds.reshape(-1, shape[-1])
    # Only differences of means count, and only against the widest spread: centred and scaled, nothing overflows.
    widest = flat_sds.max(axis=1, keepdims=True)
    certain = widest[:, 0] == 0
    unit = np.where(widest > 0, widest, 1.0)
    centred = (flat_means - flat_means.max(axis=1, keepdims=True)) / unit
    spread = np.maximum(flat_sds / unit, _LEAST_SPREAD)
    result = best_of_normals(centred, spread)
    if certain.any():
        ties = centred[certain] == 0
        result[certain] = ties / ties.sum(axis=1, keepdims=True)
    return result.reshape(shape)


def best_of_normals(mean: Floats, sd: Floats, order: int = ORDER) -> Floats:
    """`probability_best_normal` for (B, K) means near 0 and positive sds of one scale, unchecked: the inner loop."""
    if mean.size <= CHUNK_VALUES:
        return _normal(mean, sd, order)
    return np.concatenate([_normal(mean[rows], sd[rows], order) for rows in split(*mean.shape)])


def probability_best_beta(alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Floats:
    """P(best) of independent Beta(α, β) variants; higher is better.

    Integrated over x = logit(p), where the density e^{αx}/(1+e^x)^{α+β}/B(α,β) is smooth for every α, β > 0.

    Args:
        alpha: (…, K) finite, > 0.
        beta: (…, K) finite, > 0; broadcast against `alpha`.

    Returns:
        (…, K) probabilities that add up to 1 within 1e-9, each within 1e-6 of the truth.

    Raises:
        InvalidInput: an α or β is not finite and positive, or there is no variant.
    """
    alphas, betas = np.broadcast_arrays(np.asarray(alpha, float), np.asarray(beta, float))
    for name, values in (("alpha", alphas), ("beta", betas)):
        _refuse(~(np.isfinite(values) & (values > 0)), name, values, "is not a finite number above 0")
    shape = _variants_last(alphas.shape)
    if shape[-1] == 1 or alphas.size == 0:
        return np.ones(shape)
    flat_alphas, flat_betas = alphas.reshape(-1, shape[-1]), betas.reshape(-1, shape[-1])
    result = np.empty(flat_alphas.shape)
    for rows in split(len(result), shape[-1]):
        result[rows] = _beta(flat_alphas[rows], flat_betas[rows])
    return result.reshape(shape)


def _normal(mean: Floats, sd: Floats, order: int) -> Floats:
    left, right = mean - TAIL * sd, mean + TAIL * sd
    x, weight = nodes(panels(left, right, sd), order)
    t = (x[:, :, None] - mean[:, None, :]) / sd[:, None, :]
    below = ndtr(t)
    density: Floats = np.exp(-0.5 * t * t)
    density /= sd[:, None, :] * _SQRT_2PI
    return _integrate(density, below, weight)


def _beta(alpha: Floats, beta: Floats) -> Floats:
    centre = psi(alpha) - psi(beta)
    sd = np.sqrt(zeta(2, alpha) + zeta(2, beta))  # the trigamma function is ζ(2, ·)
    left = centre - TAIL * sd - _TAIL_EXPONENT / alpha
    right = centre + TAIL * sd + _TAIL_EXPONENT / beta
    x, weight = nodes(panels(left, right, sd, pole=np.pi))
    logit, a, b = x[:, :, None], alpha[:, None, :], beta[:, None, :]
    density = np.exp(a * logit - (a + b) * np.logaddexp(0, logit) - betaln(a, b))
    below: Floats = np.asarray(betainc(a, b, expit(logit)), float)
    return _integrate(np.asarray(density, float), below, weight)


def _integrate(density: Floats, below: Floats, weight: Floats) -> Floats:
    """Σ over nodes of weight · fₖ/Fₖ · ΠF, normalised; (B, N, K), (B, N, K), (B, N) → (B, K)."""
    mass = weight * below.prod(axis=2)
    hazard = np.divide(density, below, out=np.zeros_like(density), where=below > 0)
    raw: Floats = np.matmul(mass[:, None, :], hazard)[:, 0, :]
    shares: Floats = raw / raw.sum(axis=1, keepdims=True)
    return shares


def _variants_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape or shape[-1] == 0:
        raise InvalidInput("P(best) needs at least one variant, on the last axis.", field="variants", value=shape)
    return shape


def _refuse(wrong: npt.NDArray[np.bool_], field: str, values: Floats, problem: str) -> None:
    if wrong.any():
        value = float(values[wrong].flat[0])
        raise InvalidInput(f"{field} {value!r} {problem}.", field=field, value=value)
