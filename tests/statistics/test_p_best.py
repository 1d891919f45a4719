"""P(best) against other arithmetic: dense grids, scrambled Sobol points, and the Monte-Carlo that it replaces.

Bars: Σ = 1 ± 1e-9 and errors ≤ 1e-6 for independent variants, K = 1 … 1,000; ≤ 3e-4 for correlated ones.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_ndtr
from worlds import Floats, show, size

from trimtab.engine import probability_best_beta, probability_best_normal
from unit.engine.test_correlated import by_sobol, uneven


@pytest.mark.parametrize("variants", [1, 2, 10, 100, 1000])
def test_independent_variants_are_within_a_millionth_of_the_truth(variants: int) -> None:
    """Means ~ N(0, s²), standard deviations within a factor of 4, near ties and clear leads (s = .5 … 4).

    The truth is a trapezoid of 4,001 nodes over the range of every variant that may be best. Teeth: the share of
    10,000 joint draws in which each is best is off by more than a thousandth, where there is anything to be told.
    """
    rng = np.random.default_rng(variants)
    worst = total = 0.0
    crude: list[float] = []
    for spread in np.linspace(.5, 4, size(4, 16)):
        mean, sd = rng.normal(0, spread, variants), 2 ** rng.uniform(-1, 1, variants)
        found, truth = probability_best_normal(mean, sd), _by_trapezoid(mean, sd)
        worst, total = max(worst, float(np.abs(found - truth).max())), max(total, abs(float(found.sum()) - 1))
        best = np.concatenate([rng.normal(mean, sd, (1_000, variants)).argmax(axis=1) for _ in range(10)])
        crude.append(float(np.abs(np.bincount(best, minlength=variants) / 10_000 - truth).max()))
    show(f"K = {variants}: largest error", worst, "≤ 1e-6")
    show(f"K = {variants}: sum off by", total, "≤ 1e-9")
    show(f"K = {variants}: largest error of 10,000 draws", max(crude), "> 1e-3")
    assert worst <= 1e-6
    assert total <= 1e-9
    assert variants == 1 or max(crude) > 1e-3


def _by_trapezoid(mean: Floats, sd: Floats) -> Floats:
    """∫ φ_k Π_{j≠k} Φ_j dx from sums of logarithms, the k-th taken away again."""
    grid = np.linspace((mean - 9 * sd).max(), (mean + 9 * sd).max(), 4_001)
    below = np.zeros_like(grid)
    for m, s in zip(mean, sd, strict=True):
        below += log_ndtr((grid - m) / s)
    step, out = grid[1] - grid[0], []
    for m, s in zip(mean, sd, strict=True):
        z = (grid - m) / s
        density = np.exp(-z * z / 2 + below - log_ndtr(z)) / (s * np.sqrt(2 * np.pi))
        out.append(float((density[:-1] + density[1:]).sum() * step / 2))
    return np.array(out)


def test_nothing_of_a_thousand_against_twenty_is_not_the_best() -> None:
    """Beta(1, 1001) against Beta(21, 981): ≤ .001; the best open peer gave half the traffic to 0 of 20,000."""
    p = float(probability_best_beta([1, 21], [1001, 981])[0])
    show("0/1000 against 20/1000: P(best)", p, "≤ .001")
    assert p <= .001


def test_correlated_variants_are_within_the_bar_of_the_truth() -> None:
    """K = 3 … 8 after 2 … 50 epochs of trickles and floods in even to wildly uneven shares: 6 cases (full 80).

    The truth is 8 × 4,096 scrambled Sobol points along eigenvectors, allowed four of its standard errors. Teeth: the
    diagonal of Σ alone is off by more than ten bars.
    """
    rng, worst, wrong = np.random.default_rng(20291), 0.0, []
    for seed in range(size(6, 80)):
        belief = uneven(rng, int(rng.choice([2, 5, 20, 50])), [3, 4, 5, 8])
        each = by_sobol(belief, 8, 1000 + seed)
        error = 4 * each.std(axis=0, ddof=1) / np.sqrt(8)
        off = np.abs(belief.p_best - each.mean(axis=0))
        worst = max(worst, float((off - error).max()))
        alone = probability_best_normal(belief.theta, np.sqrt(np.diag(belief.covariance)))
        wrong.append(float(np.abs(alone - each.mean(axis=0)).max()))
    show("correlated: largest error", worst, "≤ 3e-4")
    show("correlated: median error of the diagonal alone", float(np.median(wrong)), "> .003")
    assert worst <= 3e-4
    assert np.median(wrong) > .003
