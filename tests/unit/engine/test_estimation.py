"""The additive model: levels are free, effects are told from what differs inside epochs, nothing is lost to floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.engine import Belief, Cells, Estimate, estimate
from trimtab.engine.likelihood import Binomial, Family, Poisson
from trimtab.engine.many_epochs import ManyEpochs
from trimtab.engine.newton import summit
from trimtab.engine.one_epoch import OneEpoch
from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind
from unit.engine.given import Sums, binary, binary_rows, cells_of, values_cell


def penalised(theta: Floats, rows: list[list[Sums]], prior_sd: float) -> float:
    """The binary log-likelihood with levels profiled out by brute bisection, less the prior's penalty."""
    n, y = (np.array([[cell[i] for cell in row] for row in rows], float) for i in (0, 1))
    value = -.5 * float(theta @ theta) / prior_sd**2
    for units, hits in zip(n, y, strict=True):
        if 0 < hits.sum() < units.sum():
            low, high = -50.0, 50.0
            for _ in range(80):
                middle = (low + high) / 2
                expected = (units / (1 + np.exp(-(middle + theta)))).sum()
                low, high = (middle, high) if expected < hits.sum() else (low, middle)
            rate = 1 / (1 + np.exp(-(low + theta)))
            value += float((hits * np.log(rate) + (units - hits) * np.log1p(-rate)).sum())
    return value


def test_the_binary_estimate_is_the_maximum_and_its_information_the_curvature() -> None:
    """θ̂ maximises the penalised profile likelihood; L + I/τ² is minus its second derivative."""
    rows = [[binary(200, 20), binary(300, 45), binary(0, 0)], [binary(50, 20), binary(0, 0), binary(150, 80)]]
    found = estimate(cells_of(rows), MetricKind.BINARY)
    best, step = penalised(found.theta, rows, .5), 1e-3
    full = found.information + np.eye(3) / .25
    for k, j in ((0, 0), (0, 1), (1, 2), (2, 2)):
        corner = [
            penalised(found.theta + a * step * np.eye(3)[k] + b * step * np.eye(3)[j], rows, .5)
            for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        assert max(corner) <= best + 1e-9
        curvature = (corner[0] - corner[1] - corner[2] + corner[3]) / (4 * step**2)
        assert -curvature == pytest.approx(full[k, j], abs=.02)


@settings(max_examples=60)
@given(binary_rows())
def test_any_counts_give_a_finite_estimate(rows: list[list[Sums]]) -> None:
    """Empty cells, absent variants, epochs without or with only successes: all fine; Σθ̂ = 0, L1 = 0."""
    found = estimate(cells_of(rows), MetricKind.BINARY)
    assert np.isfinite(found.theta).all()
    assert found.theta.sum() == pytest.approx(0, abs=1e-7)
    assert found.information.sum(axis=1) == pytest.approx(0, abs=1e-8)
    assert np.linalg.eigvalsh(found.information).min() > -1e-8


@pytest.mark.parametrize(
    "rows",
    [
        [[binary(0, 0), binary(0, 0)]],
        [[binary(100, 0), binary(100, 0)], [binary(100, 100), binary(50, 50)]],
        [[binary(100, 30), binary(0, 0)], [binary(0, 0), binary(100, 60)]],
    ],
    ids=["no data", "all or nothing", "never together"],
)
def test_epochs_that_compare_nothing_say_nothing(rows: list[list[Sums]]) -> None:
    """θ̂ = 0 and L = 0: a level is free, so an epoch with one variant, or one outcome, has no contrast."""
    found = estimate(cells_of(rows), MetricKind.BINARY)
    assert found.theta == pytest.approx(0, abs=1e-9)
    assert found.information == pytest.approx(0, abs=1e-9)


def _scaled(rows: list[list[list[int]]], factor: int, scale: int) -> Cells:
    return cells_of([[values_cell([factor * x for x in cell]) for cell in row] for row in rows], scale=scale)


def _p_best(found: Estimate) -> Floats:
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd).p_best


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.lists(st.integers(1, 5000), min_size=2, max_size=6), min_size=3, max_size=3), min_size=1, max_size=2
    ),
    st.sampled_from([MetricKind.CONTINUOUS, MetricKind.REVENUE]),
)
def test_rescaling_a_metric_leaves_weights_unchanged(rows: list[list[list[int]]], kind: MetricKind) -> None:
    """Cents for dollars, or another fixed-point scale: P(best) is the same."""
    base = _p_best(estimate(_scaled(rows, 1, 1), kind))
    assert _p_best(estimate(_scaled(rows, 100, 1), kind)) == pytest.approx(base, abs=3e-9)
    assert _p_best(estimate(_scaled(rows, 1000, 1_000_000), kind)) == pytest.approx(base, abs=3e-9)


@pytest.mark.parametrize("kind", [MetricKind.COUNT, MetricKind.REVENUE])
def test_the_share_model_solves_its_equations(kind: MetricKind) -> None:
    """Σ_e (S_ek − S_e π_ek)/φ = θ_k/τ² with π ∝ n e^θ, φ = ΣSS/Σ(n − 1)ȳ, as written in STATISTICS §2."""
    rows = [[[0, 3, 1, 0, 2], [1, 4, 0], [2, 2, 5, 1]], [[1, 1, 0], [0, 2, 6, 3], [4]]]
    found = estimate(_scaled(rows, 1, 1), kind)
    arrays = [[np.array(cell, float) for cell in row] for row in rows]
    squares = sum(((cell - cell.mean()) ** 2).sum() for row in arrays for cell in row)
    dispersion = squares / sum((len(cell) - 1) * cell.mean() for row in arrays for cell in row)
    gradient, information = np.zeros(3), np.zeros((3, 3))
    for row in arrays:
        total = np.array([cell.sum() for cell in row])
        share = np.array([len(cell) for cell in row]) * np.exp(found.theta)
        share /= share.sum()
        gradient += (total - total.sum() * share) / dispersion
        information += total.sum() * (np.diag(share) - np.outer(share, share)) / dispersion
    assert gradient == pytest.approx(found.theta / .25, abs=1e-8)
    assert found.information == pytest.approx(information, abs=1e-8)


def test_the_continuous_model_is_least_squares_with_a_level_per_epoch() -> None:
    """b and L of STATISTICS §2, with one variance pooled within cells."""
    rows = [[[10, 14, 9], [20, 25]], [[50, 58], [61, 66, 64, 60]]]
    found = estimate(_scaled(rows, 1, 1), MetricKind.CONTINUOUS)
    arrays = [[np.array(cell, float) for cell in row] for row in rows]
    variance = sum(((c - c.mean()) ** 2).sum() for row in arrays for c in row) / (3 + 2 + 2 + 4 - 4)
    score, information = np.zeros(2), np.zeros((2, 2))
    for row in arrays:
        n = np.array([len(cell) for cell in row])
        score += (n * (np.array([cell.mean() for cell in row]) - np.concatenate(row).mean())) / variance
        information += (np.diag(n) - np.outer(n, n) / n.sum()) / variance
    assert found.prior_sd == pytest.approx(np.sqrt(variance) / 2)
    expected = np.linalg.solve(information + np.eye(2) / found.prior_sd**2, score)
    assert found.theta == pytest.approx(expected)


def test_a_mean_of_a_hundred_million_keeps_every_digit() -> None:
    """Σx² − (Σx)²/n in floats would lose all of it; exact integers give the estimate of the same data around 0."""
    small = [[[-1, 0, 1, 2], [0, 1, 2, 4]]]
    large = [[[10**14 + x for x in cell] for cell in row] for row in small]
    near, far = (estimate(_scaled(rows, 1, 1), MetricKind.CONTINUOUS) for rows in (small, large))
    assert far.theta == pytest.approx(near.theta, rel=1e-12)
    naive = np.array(large[0][0], float)
    assert (naive**2).sum() - naive.sum() ** 2 / 4 != pytest.approx(5)  # teeth


@pytest.mark.parametrize("kind", list(MetricKind))
@pytest.mark.parametrize(
    "make", [lambda: [[[], []]], lambda: [[[1], [1]]], lambda: [[[0, 0], [0]]], lambda: [[[1], [0]]]]
)
def test_next_to_no_data_is_ordinary_data(kind: MetricKind, make: Callable[[], list[list[list[int]]]]) -> None:
    """n = 0, n = 1, all zeros, all ones: finite, and equal data gives equal weights."""
    rows = make()
    p = _p_best(estimate(_scaled(rows, 1, 1), kind))
    assert p.sum() == pytest.approx(1)
    if len({sum(cell) for cell in rows[0]}) == 1 and len(rows[0][0]) == len(rows[0][1]):
        assert p == pytest.approx(.5, abs=1e-9)


def test_more_successes_than_trials_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'b'"):
        estimate(cells_of([[binary(10, 3), (10, 11, 200)]]), MetricKind.BINARY)


def test_sums_that_no_data_can_have_are_refused_by_name() -> None:
    """n·Σx² < (Σx)² cannot be."""
    with pytest.raises(InvalidInput, match=r"'a' in epoch 1"):
        cells_of([[(10, 100, 3)]])


@pytest.mark.parametrize("family", [Binomial(), Poisson()])
def test_one_epoch_in_plain_floats_finds_the_same_summit_as_in_arrays(family: Family) -> None:
    """Eliminating effects or the level from Newton's steps are two ways up one hill."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        n = rng.integers(0, 10 ** rng.integers(1, 7), 5).astype(float)
        y = np.floor(n * rng.uniform(0, 10.0 ** -rng.integers(1, 4), 5))
        y[0], n[0] = y[0] + 1, n[0] + 2
        plain = summit(OneEpoch(family, n.tolist(), y.tolist(), 4.0))
        arrays = summit(ManyEpochs(family, n[None], y[None], 4.0))
        assert plain.theta == pytest.approx(arrays.theta, abs=1e-9)
        assert plain.weight == pytest.approx(arrays.weight[0], rel=1e-9)


def test_refunds_beyond_sales_in_one_epoch_are_data_like_any_other() -> None:
    """A negative total of one variant: its effect is low, finite, and the information too."""
    found = estimate(cells_of([[(100, 900, 40_000), (100, 800, 30_000), (100, -50, 20_000)]]), MetricKind.REVENUE)
    assert np.isfinite(found.information).all()
    assert found.theta[2] < found.theta[1] < found.theta[0]


@pytest.mark.parametrize("n", [10, 10**18])
def test_all_but_one_success_is_data_like_any_other(n: int) -> None:
    """Also where the rate rounds to 1."""
    assert np.isfinite(estimate(cells_of([[binary(n, n), binary(n, n - 1)]]), MetricKind.BINARY).theta).all()
