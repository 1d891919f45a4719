"""P(best): the chance that each variant is truly the best, by deterministic quadrature.

One idea serves every family: the maximum of independent variants has the distribution function F = Π Fⱼ, and

    P(k best) = ∫ fₖ Π_{j≠k} Fⱼ dx = ∫ (fₖ / Fₖ) · F dx                                  (STATISTICS §1)

All variants share one grid that lives only where the maximum can be, and is as fine as the narrowest variant still
undecided there needs. So the work is (nodes × variants), never variants squared, and variants whose spreads differ by
many orders of magnitude cost a few panels more instead of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, expit, ndtr, psi, zeta

from trimtab.engine.quadrature import CHUNK_VALUES, EXACT, Rule, grid, nodes, panels
from trimtab.errors import InvalidInput

Floats = npt.NDArray[np.float64]

_LEAST_SPREAD = 1e-9  # spreads below this share of the widest act as this: a point mass is a limit, not a case
_LEAST_UNIT = 1e-100  # of what lies between means: such spreads decide nothing, and dividing by them may overflow
_TINY = 1e-200  # where Fₖ is smaller, or 0, nobody is best: the quotient only has to stay finite
_BETA_WIDTH = 2.4  # of panels; skewed, they need narrower ones than normals
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
    means, sds = _together(mean=mean, sd=sd)
    shape = _variants_last(means.shape)
    refuse(~np.isfinite(means), "mean", means, "a finite number")
    refuse(~(np.isfinite(sds) & (sds >= 0)), "sd", sds, "a finite number ≥ 0")
    if shape[-1] == 1 or means.size == 0:
        return np.ones(shape)
    flat_means, flat_sds = means.reshape(-1, shape[-1]), sds.reshape(-1, shape[-1])
    # Only differences of means count, and only against the widest spread: centred and scaled, nothing overflows.
    behind = flat_means - flat_means.max(axis=1, keepdims=True)
    widest = flat_sds.max(axis=1, keepdims=True)
    certain = widest[:, 0] == 0
    unit = np.maximum(widest, -_LEAST_UNIT * behind.min(axis=1, keepdims=True))
    unit[unit == 0] = 1
    centred = behind / unit
    spread = np.maximum(flat_sds / unit, _LEAST_SPREAD)
    result = best_of_normals(centred.T, spread.T).T
    if certain.any():
        ties = centred[certain] == 0
        result[certain] = ties / ties.sum(axis=1, keepdims=True)
    return result.reshape(shape)


def best_of_normals(mean: Floats, sd: Floats, rule: Rule = EXACT) -> Floats:
    """`probability_best_normal` unchecked, for (K, B) means near 0 and sds > 0, (K, B) or (K, 1), of one scale."""
    return _in_chunks(lambda means, sds: _normal(means, sds, rule), mean, sd)


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
    alphas, betas = _together(alpha=alpha, beta=beta)
    shape = _variants_last(alphas.shape)
    for name, values in (("alpha", alphas), ("beta", betas)):
        refuse(~(np.isfinite(values) & (values > 0)), name, values, "a finite number above 0")
    if shape[-1] == 1 or alphas.size == 0:
        return np.ones(shape)
    flat_alphas, flat_betas = alphas.reshape(-1, shape[-1]), betas.reshape(-1, shape[-1])
    return _in_chunks(_beta, flat_alphas.T, flat_betas.T).T.reshape(shape)


def _in_chunks(p_best: Callable[[Floats, Floats], Floats], first: Floats, second: Floats) -> Floats:
    """`p_best` of (K, B) parameters, some experiments at a time; each chunk is laid out as it is worked through."""
    if first.size <= CHUNK_VALUES:
        return p_best(np.ascontiguousarray(first), np.ascontiguousarray(second))
    both = np.broadcast_arrays(first, second)
    size = max(1, CHUNK_VALUES // len(first))
    chunks = [
        p_best(*(np.ascontiguousarray(values[:, start : start + size]) for values in both))
        for start in range(0, first.shape[1], size)
    ]
    return np.concatenate(chunks, axis=1)


def _normal(mean: Floats, sd: Floats, rule: Rule) -> Floats:
    """P(best) (K, B) of normal variants; sd may be (K, 1)."""
    x, weight = grid(mean, sd, rule)
    t = x - mean[:, None]
    t /= sd[:, None]
    below = ndtr(t)
    t *= t
    t *= -.5
    density: Floats = np.exp(t, out=t)  # √2π is common to all of them, and so is nobody's business
    density /= sd[:, None]
    return _integrate(density, below, weight)


def _beta(alpha: Floats, beta: Floats) -> Floats:
    """P(best) (K, B) of Beta variants (K, B)."""
    centre = psi(alpha) - psi(beta)
    sd = np.sqrt(zeta(2, alpha) + zeta(2, beta))  # the trigamma function is ζ(2, ·)
    left = centre - EXACT.tail * sd - _TAIL_EXPONENT / alpha
    right = centre + EXACT.tail * sd + _TAIL_EXPONENT / beta
    logit, weight = nodes(panels(left, right, sd, _BETA_WIDTH, pole=np.pi), EXACT.order)
    a, b = alpha[:, None], beta[:, None]
    density = np.exp(a * logit - (a + b) * np.logaddexp(0, logit) - betaln(a, b))
    below: Floats = np.maximum(betainc(a, b, expit(logit)), _TINY)
    return _integrate(np.asarray(density, float), below, weight)


def _integrate(density: Floats, below: Floats, weight: Floats) -> Floats:
    """Σ over nodes of weight · fₖ/Fₖ · ΠF, normalised; (K, N, B), (K, N, B), (N or 1, B) → (K, B). Eats `density`."""
    density /= below
    density *= weight * below.prod(axis=0)
    raw: Floats = density.sum(axis=1)
    raw /= raw.sum(axis=0)
    return raw


def _variants_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape or shape[-1] == 0:
        raise InvalidInput("P(best) needs at least one variant, on the last axis.", field="variants", value=shape)
    return shape


def numbers(field: str, value: npt.ArrayLike) -> Floats:
    """`value` as an array of floats.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        raise InvalidInput(f"{field} is {value!r}, not an array of numbers.", field=field, value=value) from None


def refuse(wrong: npt.NDArray[np.bool_], field: str, values: Floats, expected: str) -> None:
    """Name the first of `values` (…, K) that is `wrong`; variants have no ids here, so it is known by its place.

    Raises:
        InvalidInput: there is one.
    """
    if wrong.any():
        place = np.argwhere(wrong)[0]
        value, variant = float(values[tuple(place)]), str(place[-1])
        raise InvalidInput(
            f"{field}[{', '.join(map(str, place))}] is {value!r}; of variant {variant}, counted from 0, it must be "
            f"{expected}.",
            field=field,
            variant=variant,
            value=value,
        )


def _together(**given: npt.ArrayLike) -> tuple[Floats, ...]:
    """Arrays of floats, broadcast against each other."""
    arrays = {field: numbers(field, value) for field, value in given.items()}
    try:
        return np.broadcast_arrays(*arrays.values())
    except ValueError:
        shapes = " and ".join(f"{field} {array.shape}" for field, array in arrays.items())
        raise InvalidInput(
            f"The shapes of {shapes} do not fit together.", field=next(iter(arrays)), value=shapes
        ) from None
