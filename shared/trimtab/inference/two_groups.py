"""Fixed-horizon tests of a treatment against control: for one look, promised beforehand, and no other.

With one epoch they are the textbook's: pooled two-proportion z, Fisher's exact test for small counts, Welch's t. With
several they stratify over epochs (Mantel–Haenszel; the exact test conditions on each epoch's margins), never pooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from trimtab.inference.exact import exact_pvalue
from trimtab.inference.looks import Looks, looks
from trimtab.inference.pairs import Floats, Pair
from trimtab.inference.relative import relative_bounds
from trimtab.schema.experiment import MetricKind

LEAST_EXPECTED = 5.0
"""Expected count of the rarest cell of the table below which the normal approximation gives way to the exact test."""


@dataclass(frozen=True)
class FixedTest:
    """Two-sided `pvalue`, the `method` that gave it, and bounds of the difference in the metric's unit.

    Relative bounds are shares of control's mean, None where unbounded.
    """

    method: str
    pvalue: float
    ci_lower: float
    ci_upper: float
    rel_ci_lower: float | None
    rel_ci_upper: float | None


def fixed_test(pair: Pair, kind: MetricKind, alpha: float) -> FixedTest | None:
    """The test for a metric of `kind`, intervals at 1 − `alpha`; None where nothing can be compared."""
    now = looks(pair, kind).last
    if not now.weight > 0:
        return None
    return _proportions(pair, now, alpha) if kind is MetricKind.BINARY else _means(pair, now, alpha)


def _proportions(pair: Pair, now: Looks, alpha: float) -> FixedTest:
    rate = (pair.n_0 * pair.mean_0 + pair.n_1 * pair.mean_1) / np.maximum(pair.units, 1)
    variance = float((pair.harmonic * rate * (1 - rate)).sum())
    expected = float((np.minimum(pair.n_0, pair.n_1) * np.minimum(rate, 1 - rate)).sum())
    several = "stratified " if int(pair.met.sum()) > 1 else ""
    if expected < LEAST_EXPECTED:
        method, pvalue = f"{several}Fisher's exact test", exact_pvalue(pair)
    else:
        method, pvalue = f"{several}two-proportion z test", _normal_pvalue(float(now.score), variance)
    z = float(-ndtri(alpha / 2))
    lower, upper = _score_interval(pair, z)
    # The relative bounds invert the same z test, so they agree with it at 0.
    steady = _with_variance(now, variance)
    return FixedTest(method, pvalue, lower, upper, *_relative(steady, lambda v: z * np.sqrt(v), bounded_below=True))


def _means(pair: Pair, now: Looks, alpha: float) -> FixedTest:
    several = "stratified " if int(pair.met.sum()) > 1 else ""
    effect = float(now.score / now.weight)
    part_0 = float(now.base_variance)
    part_1 = float(now.own_variance) - part_0
    free_0, free_1 = (float(np.maximum(n - 1, 0).sum()) for n in (pair.n_0, pair.n_1))
    if min(free_0, free_1) < 1 or part_0 + part_1 <= 0:
        # Without spread there is no t. Values then differ by variant only, which is a table of successes.
        return FixedTest("exact permutation test", exact_pvalue(_by_side(pair)), effect, effect, None, None)
    freedom = (part_0 + part_1) ** 2 / (part_0**2 / free_0 + part_1**2 / free_1)
    t = float(stdtrit(freedom, 1 - alpha / 2))
    error = math.sqrt(part_0 + part_1)
    pvalue = float(2 * stdtr(freedom, -abs(float(now.score)) / error))
    reach = t * error / float(now.weight)
    steady = _with_variance(now, part_0 + part_1)
    bounds = _relative(steady, lambda v: t * np.sqrt(v), bounded_below=False)
    return FixedTest(f"{several}Welch's t test", pvalue, effect - reach, effect + reach, *bounds)


def _normal_pvalue(score: float, variance: float) -> float:
    return float(2 * ndtr(-abs(score) / math.sqrt(variance))) if variance > 0 else 1.0


def _score_interval(pair: Pair, z: float) -> tuple[float, float]:
    """Newcombe's interval (1998, method 10), from Wilson's for each rate; over epochs by MOVER with weights h_e/H."""
    share = pair.harmonic / pair.harmonic.sum()
    (low_0, high_0), (low_1, high_1) = _wilson(pair.mean_0, pair.n_0, z), _wilson(pair.mean_1, pair.n_1, z)
    down = (pair.mean_1 - low_1) ** 2 + (high_0 - pair.mean_0) ** 2
    upward = (high_1 - pair.mean_1) ** 2 + (pair.mean_0 - low_0) ** 2
    effect = float(share @ (pair.mean_1 - pair.mean_0))
    return effect - math.sqrt(float(share**2 @ down)), effect + math.sqrt(float(share**2 @ upward))


def _wilson(rate: Floats, n: Floats, z: float) -> tuple[Floats, Floats]:
    """Wilson's interval; all of [0, 1] where there is no unit."""
    size = n + z * z
    centre = (n * rate + z * z / 2) / size
    half = z * np.sqrt(n * rate * (1 - rate) + z * z / 4) / size
    return np.minimum(centre - half, rate), np.maximum(centre + half, rate)


def _by_side(pair: Pair) -> Pair:
    """Each epoch as a table: every unit of the variant with the higher value a success."""
    high_1, high_0 = pair.score > 0, pair.score < 0
    n = np.stack([pair.n_0, pair.n_1], axis=-1)
    hits = np.stack([np.where(high_0, pair.n_0, 0.0), np.where(high_1, pair.n_1, 0.0)], axis=-1)
    return Pair.of_sums(n, hits, hits)


def _with_variance(now: Looks, variance: float) -> Looks:
    return Looks(
        now.score, np.asarray(variance), now.weight, now.base, now.own_variance, now.base_variance, now.evidence
    )


def _relative(
    now: Looks, radius: Callable[[Floats], Floats], *, bounded_below: bool
) -> tuple[float | None, float | None]:
    if not now.base > 0:
        return None, None
    low, high = (float(bound) for bound in relative_bounds(now, radius))
    low = max(low, -1.0) if bounded_below else low
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)
