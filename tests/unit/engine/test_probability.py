"""P(best): accurate, exact where truth is known, and sane on degenerate data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv, ndtr

from trimtab.engine import probability_best_beta, probability_best_normal
from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput


def stieltjes(below: Floats) -> Floats:
    """∫ Π_{j≠k} F_j dF_k by the trapezoid over a very fine grid, from F (K, N)."""
    others = [np.prod(np.delete(below, k, axis=0), axis=0) for k in range(len(below))]
    return np.array(
        [
            ((other[1:] + other[:-1]) / 2 * np.diff(own)).sum() + other[0] * own[0]
            for other, own in zip(others, below, strict=True)
        ]
    )


def normal_reference(mean: Floats, sd: Floats) -> Floats:
    start, end = (mean - 9 * sd).max(), (mean + 9 * sd).max()
    grid = np.unique(np.clip(mean[:, None] + sd[:, None] * np.linspace(-9, 9, 20_001), start, end))
    below: Floats = ndtr((grid - mean[:, None]) / sd[:, None])
    return stieltjes(below)


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("spread", [1, 1000])
def test_normal_variants_are_within_a_millionth_of_the_truth(size: int, spread: int) -> None:
    """Also where one variant is known a thousand times better than another."""
    rng = np.random.default_rng(size)
    for _ in range(3):
        sd = spread ** rng.uniform(-1, 0, size)
        mean = rng.normal(0, sd.max(), size)
        assert np.abs(probability_best_normal(mean, sd) - normal_reference(mean, sd)).max() < 1e-6


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [([5, 9, 7], [500, 700, 600]), ([.5, .3], [.5, 2]), ([.05, 3, 2], [5, .1, 2]), ([1e6, 1.001e6], [1e7, 1e7])],
)
def test_beta_variants_are_within_a_millionth_of_the_truth(alpha: list[float], beta: list[float]) -> None:
    """From a handful of observations, with poles at 0 and 1, to tens of millions."""
    quantiles = [betaincinv(a, b, np.linspace(0, 1, 8001)) for a, b in zip(alpha, beta, strict=True)]
    grid = np.unique(np.concatenate([np.linspace(0, 1, 100_001), *quantiles]))
    below = np.array([betainc(a, b, grid) for a, b in zip(alpha, beta, strict=True)])
    reference = stieltjes(below)
    assert np.abs(probability_best_beta(alpha, beta) - reference).max() < 1e-6


@pytest.mark.parametrize("size", [2, 5, 12, 50])
@pytest.mark.parametrize("ratio", [1.0, 4.0, 8.0])
def test_the_grid_is_fine_enough_for_two_variants_and_for_many(size: int, ratio: float) -> None:
    """The maximum of many alike is narrow, and the even grid with it; on either side of where panels take over."""
    rng = np.random.default_rng(size)
    sd = np.resize([1.0, 1.0, 1 / ratio], size)
    for spread in (0, .1, 1):
        mean = rng.normal(0, spread, size)
        mean[0] += .5
        grid = np.linspace((mean - 9 * sd).max(), (mean + 9 * sd).max(), 4001)
        reference = stieltjes(ndtr((grid - mean[:, None]) / sd[:, None]))
        assert np.abs(probability_best_normal(mean, sd) - reference).max() < 1e-6


def test_two_normals_are_one_phi() -> None:
    """P(a > b) = Φ((μa − μb)/√(σa² + σb²))."""
    expected = ndtr(.7 / np.hypot(1, 2))
    assert probability_best_normal([.7, 0], [1, 2])[0] == pytest.approx(expected, abs=1e-10)


def test_beta_of_whole_numbers_matches_the_closed_form() -> None:
    """α = (20, 1), β = 1: P(first best) = 20/21."""
    assert probability_best_beta([20, 1], [1, 1])[0] == pytest.approx(20 / 21, abs=1e-10)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 1000])
def test_equal_variants_share_equally(size: int) -> None:
    """Symmetry, for any number of variants up to a thousand."""
    assert probability_best_normal(np.zeros(size), np.ones(size)) == pytest.approx(1 / size, abs=1e-12)
    assert probability_best_beta(np.full(size, 4.0), np.full(size, 90.0)) == pytest.approx(1 / size, abs=1e-12)


@given(st.lists(st.tuples(st.floats(-1e8, 1e8), st.floats(0, 1e4)), min_size=1, max_size=6), st.randoms())
def test_probabilities_add_up_and_follow_a_permutation(variants: list[tuple[float, float]], random: object) -> None:
    """Σ = 1 ± 1e-9 on any finite input, none negative, and order does not matter."""
    mean, sd = np.array(variants).T
    p = probability_best_normal(mean, sd)
    assert abs(p.sum() - 1) <= 1e-9
    assert (p >= 0).all()
    order = np.argsort(mean, kind="stable")[::-1]
    assert probability_best_normal(mean[order], sd[order]) == pytest.approx(p[order], abs=1e-9)


@given(st.floats(-3, 3), st.floats(.1, 3), st.floats(-3, 3), st.floats(.1, 3))
def test_a_duplicate_shares_what_its_original_had_or_less(m: float, s: float, other: float, other_sd: float) -> None:
    """A duplicate gets its original's P(best), and nobody else's rises."""
    before = probability_best_normal([m, other], [s, other_sd])
    after = probability_best_normal([m, other, m], [s, other_sd, s])
    assert after[0] == pytest.approx(after[2], abs=1e-12)
    assert after[1] <= before[1] + 1e-7


def test_many_experiments_at_once_equal_one_at_a_time() -> None:
    """Leading axes are experiments; computing them together changes nothing."""
    rng = np.random.default_rng(3)
    mean, sd = rng.normal(size=(4, 3, 5)), rng.uniform(.1, 2, (4, 3, 5))
    together = probability_best_normal(mean, sd)
    assert together.shape == (4, 3, 5)
    assert together[2, 1] == pytest.approx(probability_best_normal(mean[2, 1], sd[2, 1]), abs=1e-7)


def test_a_certain_variant_is_a_limit_not_an_error() -> None:
    """sd = 0: ties share, and against an uncertain one it is a threshold."""
    assert probability_best_normal([1, 1, 0], [0, 0, 0]).tolist() == [.5, .5, 0]
    assert probability_best_normal([0, 0], [0, 1]) == pytest.approx([.5, .5], abs=1e-6)


def test_a_mean_of_a_hundred_million_with_unit_spread_is_told_apart() -> None:
    """Only differences count."""
    shifted = probability_best_normal([1e8, 1e8 + 1], [1, 1])
    assert shifted == pytest.approx(probability_best_normal([0, 1], [1, 1]), abs=1e-7)


@pytest.mark.parametrize(("mean", "sd"), [([np.nan, 0], [1, 1]), ([0, 0], [1, np.inf]), ([0, 0], [1, -1])])
def test_what_is_not_finite_is_refused_by_name(mean: list[float], sd: list[float]) -> None:
    """NaN or infinity never reaches a weight."""
    with pytest.raises(InvalidInput, match=r"mean|sd"):
        probability_best_normal(mean, sd)


def test_alpha_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match=r"alpha\[0\] is 0\.0"):
        probability_best_beta([0, 1], [1, 1])


def test_more_successes_never_lower_p_best() -> None:
    """Monotone in the variant's own evidence."""
    p = [probability_best_beta([4 + s, 30.0], [400 - s, 400.0])[0] for s in range(0, 60, 5)]
    assert all(after > before for before, after in pairwise(p))
