"""P(best) of effects that share their epochs' levels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import expit, ndtri
from scipy.stats import qmc

from trimtab.engine import Belief, estimate, probability_best_mvn, probability_best_normal
from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind
from unit.engine.given import Sums, binary_rows, cells_of


def by_simulation(belief: Belief, pairs: int, seed: int) -> Floats:
    """P(best) over plain draws of N(θ̂, Σ), antithetic: knows nothing of factors and quadrature."""
    root = np.linalg.cholesky(belief.covariance)
    noise = np.random.default_rng(seed).standard_normal((pairs, len(root))) @ root.T
    draws = np.concatenate([belief.theta + noise, belief.theta - noise])
    return np.bincount(draws.argmax(axis=1), minlength=len(root)) / len(draws)


def drifting(variants: int, epochs: int, seed: int) -> Belief:
    """A belief after `epochs` of uneven traffic under a rising base rate."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(variants, rng.choice([.5, 1, 5])), epochs)
    n = rng.multinomial(2000, shares) if epochs == 1 else np.array([rng.multinomial(2000, share) for share in shares])
    effect = rng.normal(0, .15, variants)
    level = np.linspace(-3, -1.5, epochs)[:, None]
    y = rng.binomial(n, 1 / (1 + np.exp(-(level + effect))))
    rows = [[(int(a), int(b), int(b)) for a, b in zip(*pair, strict=True)] for pair in zip(n, y, strict=True)]
    found = estimate(cells_of(rows), MetricKind.BINARY)
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd)


@pytest.mark.parametrize(("variants", "epochs"), [(2, 4), (3, 1), (3, 3), (5, 1), (5, 12), (10, 6)])
def test_p_best_agrees_with_draws_of_the_same_posterior(variants: int, epochs: int) -> None:
    """200,000 draws have s.e. ≤ .0011; four of them bound the difference."""
    belief = drifting(variants, epochs, seed=variants * 100 + epochs)
    assert np.abs(belief.p_best - by_simulation(belief, 100_000, seed=1)).max() < .0045


def test_ignoring_the_correlation_fails_that_test() -> None:
    """Teeth: √diag Σ alone, on the belief of effects whose levels were poorly known, is far off."""
    rows = [[(900, 90, 90), (100, 12, 12), (0, 0, 0)], [(0, 0, 0), (100, 20, 20), (900, 220, 220)]]
    found = estimate(cells_of(rows), MetricKind.BINARY)
    belief = Belief.of(found.theta, found.information, found.precision, found.prior_sd)
    alone = probability_best_normal(belief.theta, np.sqrt(belief.covariance.diagonal()))
    truth = by_simulation(belief, 100_000, seed=2)
    assert np.abs(belief.p_best - truth).max() < .0045
    assert np.abs(alone - truth).max() > .0045


def test_a_shift_common_to_all_changes_nothing() -> None:
    """Only contrasts decide who is best: any multiple of 11ᵀ may be added to the covariance."""
    belief = drifting(4, 3, seed=8)
    p = probability_best_mvn(belief.theta, belief.covariance, belief.precision)
    shifted = probability_best_mvn(belief.theta + 5, belief.covariance + .3, belief.precision)
    assert shifted == pytest.approx(p, abs=1e-9)


def test_independent_variants_take_the_one_dimensional_way() -> None:
    """cov = diag(1/prec) + c11ᵀ is exactly the independent case."""
    precision = np.array([4.0, 1.0, 2.0, 3.0])
    mean = np.array([.1, .2, -.1, 0])
    p = probability_best_mvn(mean, np.diag(1 / precision) + .7, precision)
    assert p == pytest.approx(probability_best_normal(mean, precision**-.5), abs=1e-12)


def uneven(rng: np.random.Generator, epochs: int, sizes: list[int]) -> Belief:
    """A belief after `epochs` of anything from a trickle to a flood, in even to wildly uneven shares."""
    size = int(rng.choice(sizes))
    shares = rng.dirichlet(np.full(size, rng.choice([.3, 1, 5, 50])), epochs)
    n = [rng.multinomial(int(rng.choice([300, 5_000, 100_000])), share) for share in shares]
    effect = rng.normal(0, rng.choice([0, .1, .4]), size)
    y = [rng.binomial(units, expit(rng.normal(-2.5, .6) + effect)) for units in n]
    rows = [[(int(a), int(b), int(b)) for a, b in zip(*pair, strict=True)] for pair in zip(n, y, strict=True)]
    found = estimate(cells_of(rows), MetricKind.BINARY)
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd)


def by_level(belief: Belief) -> Floats:
    """P(best) after one epoch, by brute force over its level: given that, effects are independent."""
    v = belief.weight
    own = v + belief.ridge
    z = np.linspace(-8.5, 8.5, 401)
    mass = np.exp(-z * z / 2)
    along = v / own / np.sqrt((v * belief.ridge / own).sum())
    return mass @ probability_best_normal(belief.theta + np.outer(z, along), own**-.5) / mass.sum()


def by_sobol(belief: Belief, times: int, seed: int) -> Floats:
    """P(best) over scrambled Sobol points along eigenvectors, each time without bias; (times, K)."""
    own = 1 / belief.precision
    size = len(own)
    centre = np.eye(size) - np.outer(np.ones(size), belief.precision / belief.precision.sum())
    values, vectors = np.linalg.eigh(centre @ (belief.covariance - np.diag(own)) @ centre.T)
    loads = (vectors * np.sqrt(np.maximum(values, 0)))[:, :0:-1]  # the smallest is 0: a rank is taken away
    points = (qmc.Sobol(size - 1, rng=[seed, k]).random_base2(12) for k in range(times))
    moved = (ndtri(np.clip(place, 1e-12, 1 - 1e-12)) @ loads.T for place in points)
    return np.array([probability_best_normal(belief.theta + shift, np.sqrt(own)).mean(axis=0) for shift in moved])


def test_one_epoch_is_within_a_millionth_of_the_truth() -> None:
    """The level is the one factor, whatever the shares: no lattice, no error of 1e-4."""
    rng = np.random.default_rng(21)
    for _ in range(30):
        belief = uneven(rng, 1, [2, 3, 5, 5, 8, 12])
        assert np.abs(belief.p_best - by_level(belief)).max() < 1e-6


def test_one_epoch_has_the_same_spread_by_the_closed_form_as_by_the_inverse() -> None:
    rng = np.random.default_rng(22)
    for _ in range(30):
        belief = uneven(rng, 1, [2, 3, 5, 8])
        contrast = np.eye(len(belief.theta)) - 1 / len(belief.theta)
        expected = np.sqrt((contrast @ belief.covariance @ contrast).diagonal())
        assert belief.effect_sds == pytest.approx(expected, rel=1e-9)


def test_many_epochs_are_within_the_bar_of_the_truth() -> None:
    """1e-4, a third of the bar (STATISTICS §1), beside four standard errors of the reference."""
    rng = np.random.default_rng(23)
    for seed, epochs in enumerate((2, 5, 20, 50) * 2):
        belief = uneven(rng, epochs, [3, 4, 5, 5])
        each = by_sobol(belief, 8, seed)
        error = each.std(axis=0, ddof=1) / np.sqrt(8)
        assert error.max() < 5e-5
        assert (np.abs(belief.p_best - each.mean(axis=0)) < 1e-4 + 4 * error + 1e-9).all()


@settings(max_examples=25)
@given(binary_rows(min_variants=2, max_variants=3))
def test_a_duplicate_gets_its_originals_p_best(rows: list[list[Sums]]) -> None:
    """Same cells, same P(best), whatever the epochs, within the quadrature's 3e-4."""
    found = estimate(cells_of([[*row, row[0]] for row in rows]), MetricKind.BINARY)
    p = Belief.of(found.theta, found.information, found.precision, found.prior_sd).p_best
    assert p[0] == pytest.approx(p[-1], abs=3e-4)


def test_a_duplicate_in_one_epoch_gets_exactly_the_same() -> None:
    """With one epoch a single factor is integrated exactly, and so is the law."""
    found = estimate(cells_of([[(900, 90, 90), (100, 12, 12), (500, 60, 60), (900, 90, 90)]]), MetricKind.BINARY)
    p = Belief.of(found.theta, found.information, found.precision, found.prior_sd).p_best
    assert p[0] == pytest.approx(p[3], abs=2e-9)
    alone = estimate(cells_of([[(900, 90, 90), (100, 12, 12), (500, 60, 60)]]), MetricKind.BINARY)
    before = Belief.of(alone.theta, alone.information, alone.precision, alone.prior_sd).p_best
    assert (p[1:3] <= before[1:]).all()  # and nobody else's rises


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match="shapes"):
        probability_best_mvn([0, 1], np.eye(3), [1, 1])
