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
from scipy.special import betainc, betaln, expit, gammainc, gammaincc, gammaln, ndtr, psi, stdtr, stdtrit, zeta

from trimtab.engine.quadrature import CHUNK_VALUES, EXACT, Rule, grid, nodes, panels
from trimtab.errors import InvalidInput

Floats = npt.NDArray[np.float64]

_LEAST_SPREAD = 1e-9  # spreads below this share of the widest act as this: a point mass is a limit, not a case
_LEAST_UNIT = 1e-100  # of what lies between means: such spreads decide nothing, and dividing by them may overflow
_TINY = 1e-200  # where Fₖ is smaller, or 0, nobody is best: the quotient only has to stay finite
_BETA_WIDTH = 2.4  # of panels; skewed, they need narrower ones than normals
_SKEWED_TAIL = 1e-10  # of a Student variant's weight, where its polynomial tail may be cut off
_NORMAL_FROM = 1e7  # degrees of freedom from which Student's t is normal to 1e-8
_STIRLING_FROM = 1e5  # shapes from which Stirling's series is good to 1e-16 with two terms
_POWER_FROM = 37.0  # logits from which a Beta tail is a power to 1e-16
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


def probability_best_gamma(shape: npt.ArrayLike, rate: npt.ArrayLike, *, lowest: bool = False) -> Floats:
    """P(best) of independent Gamma(shape, rate) variants; higher is better, or lower with `lowest`.

    Integrated over x = ± log λ, where the density is smooth for every shape > 0.

    Args:
        shape: (…, K) finite, > 0.
        rate: (…, K) finite, > 0, in one unit; broadcast against `shape`.
        lowest: whether the smallest is the best.

    Returns:
        (…, K) probabilities that add up to 1 within 1e-9, each within 1e-6 of the truth.

    Raises:
        InvalidInput: a shape or rate is not finite and positive, or there is no variant.
    """
    shapes, rates = _together(shape=shape, rate=rate)
    size = _variants_last(shapes.shape)
    for name, values in (("shape", shapes), ("rate", rates)):
        refuse(~(np.isfinite(values) & (values > 0)), name, values, "a finite number above 0")
    if size[-1] == 1 or shapes.size == 0:
        return np.ones(size)
    flat_shapes, logs = shapes.reshape(-1, size[-1]), np.log(rates.reshape(-1, size[-1]))
    sign = -1.0 if lowest else 1.0
    return _in_chunks(lambda a, log_b: _gamma(a, log_b, sign), flat_shapes.T, logs.T).T.reshape(size)


def probability_best_t(mean: npt.ArrayLike, scale: npt.ArrayLike, degrees_of_freedom: npt.ArrayLike) -> Floats:
    """P(best) of independent variants mean + scale · t(degrees of freedom); higher is better.

    Args:
        mean: (…, K) finite means, in any unit.
        scale: (…, K) finite, > 0, in the same unit.
        degrees_of_freedom: (…, K) finite, ≥ 2; all three are broadcast against each other.

    Returns:
        (…, K) probabilities that add up to 1 within 1e-9, each within 1e-6 of the truth.

    Raises:
        InvalidInput: a number is outside its range, or there is no variant.
    """
    means, scales, freedoms = _together(mean=mean, scale=scale, degrees_of_freedom=degrees_of_freedom)
    shape = _variants_last(means.shape)
    refuse(~np.isfinite(means), "mean", means, "a finite number")
    refuse(~(np.isfinite(scales) & (scales > 0)), "scale", scales, "a finite number above 0")
    refuse(~(np.isfinite(freedoms) & (freedoms >= 2)), "degrees_of_freedom", freedoms, "a finite number from 2")
    if shape[-1] == 1 or means.size == 0:
        return np.ones(shape)
    flat = [values.reshape(-1, shape[-1]) for values in (means, scales, freedoms)]
    widest = flat[1].max(axis=1, keepdims=True)
    centred, spread = (flat[0] - flat[0].max(axis=1, keepdims=True)) / widest, flat[1] / widest
    # One experiment at a time: few ask for this, and where each ends its tail is as different as its data.
    rows = zip(centred, np.maximum(spread, _LEAST_SPREAD), flat[2], strict=True)
    return np.array([_student(m[:, None], s[:, None], f[:, None])[:, 0] for m, s, f in rows]).reshape(shape)


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
    # Where α is large and β small, the density rises within a few units of log α and falls for 1/β; and vice versa.
    turns = np.concatenate([np.zeros_like(alpha[:1]), np.log1p(alpha), -np.log1p(beta)])
    logit, weight = nodes(panels(left, right, sd, _BETA_WIDTH, turns), EXACT.order)
    a, b = alpha[:, None], beta[:, None]
    density = np.exp(a * logit - (a + b) * np.logaddexp(0, logit) - betaln(a, b))
    return _integrate(np.asarray(density, float), np.maximum(_beta_below(a, b, logit), _TINY), weight)


def _beta_below(a: Floats, b: Floats, logit: Floats) -> Floats:
    """P(logit of a Beta(a, b) variable < logit), from the nearer end: there p or 1 − p keeps its digits."""
    right, distance = logit > 0, np.abs(logit)
    near, other = np.where(right, b, a), np.where(right, a, b)
    tail = betainc(near, other, expit(-distance))
    far = distance > _POWER_FROM + np.log1p(other)
    if far.any():  # where p or 1 − p would be 0 in a float, while a small a or b still has weight there
        tail = np.where(far, np.exp(np.where(far, -near * distance - betaln(a, b), 0)) / near, tail)
    below: Floats = np.where(right, 1 - tail, tail)
    return below


def _gamma(shape: Floats, log_rate: Floats, sign: float) -> Floats:
    """P(best) (K, B) of Gamma variants (K, B), of `sign` · log λ."""
    centre = psi(shape) - log_rate
    sd = np.sqrt(zeta(2, shape))
    low, high = centre - EXACT.tail * sd - _TAIL_EXPONENT / shape, centre + EXACT.tail * sd
    left, right = (low, high) if sign > 0 else (-high, -low)
    x, weight = nodes(panels(left, right, sd, _BETA_WIDTH), EXACT.order)
    a = shape[:, None]
    over = sign * x - (np.log(shape) - log_rate)[:, None]  # log λ against log of the mean: nothing large cancels
    density = np.exp(a * (over - np.expm1(over)) + _log_density_at_mean(a))
    below: Floats = (gammainc if sign > 0 else gammaincc)(a, a * np.exp(over))
    return _integrate(np.asarray(density, float), np.maximum(below, _TINY), weight)


def _log_density_at_mean(shape: Floats) -> Floats:
    """a log a − a − log Γ(a), of log λ at the mean of a Gamma(a) variant."""
    exact = shape * np.log(shape) - shape - gammaln(shape)
    stirling = np.log(shape / (2 * np.pi)) / 2 - 1 / (12 * shape)
    return np.asarray(np.where(shape < _STIRLING_FROM, exact, stirling), float)


def _student(mean: Floats, scale: Floats, freedom: Floats) -> Floats:
    """P(best) (K, 1) of Student variants (K, 1)."""
    reach = -stdtrit(np.minimum(freedom, _NORMAL_FROM), _SKEWED_TAIL) * scale
    x, weight = nodes(panels(mean - reach, mean + reach, scale, _BETA_WIDTH), EXACT.order)
    t, f = (x - mean[:, None]) / scale[:, None], freedom[:, None]
    density = np.exp(-(f + 1) / 2 * np.log1p(t * t / f) - betaln(f / 2, .5)) / (np.sqrt(f) * scale[:, None])
    below = np.where(f < _NORMAL_FROM, stdtr(np.minimum(f, _NORMAL_FROM), t), ndtr(t))
    return _integrate(density, np.maximum(below, _TINY), weight)


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
