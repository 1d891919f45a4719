"""Worlds: what they say is true is what they draw."""

from __future__ import annotations

import numpy as np
import pytest

from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.simulation import WORLDS, Binary, Continuous, Count, Outcome, Revenue, World, make_world
from trimtab.simulation.catalogue import details_of

EVEN = np.array([.5, .5])


@pytest.mark.parametrize("outcome", [Binary(), Count(1.0), Count(3.0), Continuous(.2), Revenue(value=20, cap=300)])
def test_the_truth_of_a_world_is_the_mean_of_what_it_draws(outcome: Outcome) -> None:
    """Within four standard errors of the draws' own; the money is counted as it is clipped."""
    world = World("w", np.array([[.2, .4]]), 200_000, outcome)
    sums = world.draw(0, EVEN, np.random.default_rng(1))[0]
    mean = sums.total / sums.n / outcome.scale
    sd = np.sqrt(sums.total_sq / sums.n / outcome.scale**2 - mean**2)
    assert (np.abs(mean - world.means[0]) < 4 * sd / np.sqrt(sums.n)).all()


def test_counts_vary_as_much_as_they_say() -> None:
    """Variance 3 × mean; of 200,000 draws it is known to a percent or two."""
    sums = World("w", np.array([[2.0]]), 200_000, Count(3.0)).draw(0, np.array([1.0]), np.random.default_rng(2))[0]
    mean = sums.total[0] / sums.n[0]
    assert (sums.total_sq[0] / sums.n[0] - mean**2) / mean == pytest.approx(3, rel=.05)


@pytest.mark.parametrize("name", WORLDS)
def test_every_unit_meets_one_variant_and_arrives_once(name: str) -> None:
    world = make_world(name, [.05, .06, .07], steps=8, batch=500)
    sums = world.draw(7, np.array([.2, .3, .5]), np.random.default_rng(3))
    assert sums.n.shape == (len(world.arrival), 3)
    assert sums.n.sum() == 500
    assert (sums.n * sums.total_sq >= sums.total * sums.total).all()


def test_draws_are_vectorised_over_runs() -> None:
    world = make_world("revenue", [.05, .06], steps=1)
    sums = world.draw(0, np.tile(EVEN, (7, 1)), np.random.default_rng(4))
    assert sums.total.shape == (1, 7, 2)
    assert (sums.n.sum(axis=2) == 1000).all()


def test_a_variant_that_is_not_there_yet_is_neither_best_nor_missed() -> None:
    world = make_world("late", [.05, .04, .09], steps=10, at=6, to=1)
    assert world.best.tolist() == [0] * 6 + [2] * 4
    assert world.gaps[5].tolist() == pytest.approx([0, .01, 0])
    assert world.uniform_regret[5] == pytest.approx(1000 * .01 / 2)
    assert world.uniform_regret[6] == pytest.approx(1000 * (.04 + .05) / 3)


def test_what_the_catalogue_promises_holds() -> None:
    assert make_world("drift", [.1, .2], to=2).means[-1].tolist() == pytest.approx([.2, .4])
    novelty = make_world("novelty", [.1, .2], steps=11, half_life=5, lasting=.5).means
    assert novelty[[0, 5, 10], 1].tolist() == pytest.approx([.2, .175, .1625])
    seasonal = make_world("seasonal", [.1], steps=10, period=10, amplitude=.5).means[:, 0]
    assert (seasonal.max(), seasonal.mean()) == (pytest.approx(.1475, abs=.003), pytest.approx(.1))
    assert make_world("delayed", [.1], lag=1).arrival == (.5, .5)
    assert details_of("late") == {"at": None, "to": 3.0}


def test_many_variants_have_ids_that_sort_in_their_order() -> None:
    ids = make_world("stationary", [.1] * 101).variants
    assert (ids[0], ids[-1], list(ids)) == ("v001", "v101", sorted(ids))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_world("tides", [.1]), "no world 'tides'; choose one of delayed, drift"),
        (lambda: make_world("drift", [.1], slope=2), "no detail 'slope'; it has: to"),
        (lambda: make_world("drift", [.5], to=3), "the rate of variant 'a' at step 20 is"),
        (lambda: make_world("late", [.5]), "two rates or more"),
        (lambda: World("w", np.array([.1, .2])), "expected (steps, variants)"),
        (lambda: World("w", np.array([[.1]]), batch=0), "at least one unit"),
        (lambda: World("w", np.array([[.1, .2]]), enters=(0, 1)), "enters is (0, 1)"),
        (lambda: World("w", np.array([[.1]]), arrival=(.5, .4)), "add up to 1"),
        (lambda: World("w", np.array([[-1.0]]), outcome=Count()), "which no count metric can have"),
        (lambda: Count(.5), "dispersion is 0.5"),
        (lambda: Revenue(cap=0), "cap is 0"),
        (lambda: Continuous(-1), "sd is -1"),
    ],
)
def test_what_no_world_can_be_is_refused_in_one_sentence(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises((InvalidInput, ConfigurationError), match=r"\.$") as caught:
        make()
    assert words in str(caught.value)


def test_sums_too_large_to_be_exact_are_refused() -> None:
    world = World("w", np.array([[1e12]]), 10, Continuous(1.0))
    with pytest.raises(InvalidInput, match="too large for exact sums"):
        world.draw(0, np.array([1.0]), np.random.default_rng(5))
