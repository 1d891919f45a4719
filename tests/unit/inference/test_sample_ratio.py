"""Traffic against what was served: the e-process is a fair bet under the served shares, and leaks are counted."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.inference import find_leaks, sample_ratio
from trimtab.inference.sample_ratio import TILTS, log_evalue

HALVES = {"a": 500_000, "b": 500_000}


@given(st.lists(st.floats(.05, 1), min_size=2, max_size=3))
def test_the_evalue_has_expectation_one_under_the_served_shares(raw: list[float]) -> None:
    """All outcomes of six units, each with its probability; so Ville's bound of 1/1000 holds at every look."""
    weights = np.array(raw) / sum(raw)
    units = np.array(list(itertools.product(range(len(weights)), repeat=6)))
    n = (units[..., None] == np.arange(len(weights))).sum(axis=1)
    evalues = np.exp(log_evalue(n[:, None], np.broadcast_to(weights, n[:, None].shape)))
    mean = float(weights[units].prod(axis=1) @ evalues)
    assert mean == pytest.approx(1, rel=1e-9)


def test_each_tilt_is_the_likelihood_ratio_of_a_multinomial() -> None:
    """Against scipy's multinomial at w'_k ∝ (1 + δ)w_k, over two epochs with different shares."""
    from scipy import stats

    n = np.array([[30, 12, 8], [5, 40, 5]])
    weights = np.array([[.5, .3, .2], [.1, .8, .1]])
    ratios = []
    for k, tilt in itertools.product(range(3), TILTS):
        tilted = weights.copy()
        tilted[:, k] *= 1 + tilt
        tilted /= tilted.sum(axis=1, keepdims=True)
        logs = [
            stats.multinomial.logpmf(row, row.sum(), new) - stats.multinomial.logpmf(row, row.sum(), old)
            for row, new, old in zip(n, tilted, weights, strict=True)
        ]
        ratios.append(math.exp(sum(logs)))
    assert math.exp(log_evalue(n, weights)) == pytest.approx(np.mean(ratios), rel=1e-9)


def test_a_loss_is_named_with_its_numbers() -> None:
    found = sample_ratio({(1, "a"): 5000, (1, "b"): 4300}, {1: HALVES})
    assert found.alarm
    assert found.pvalue < 1e-3
    assert found.expected == {"a": 4650, "b": 4650}
    assert "5,000" in found.sentence or "4,300" in found.sentence


def test_shares_that_moved_are_expected_to_move() -> None:
    """9 : 1 and then 1 : 9, each met exactly: nothing to see, though pooled against either split it is far off."""
    trials = {(1, "a"): 9000, (1, "b"): 1000, (2, "a"): 1000, (2, "b"): 9000}
    served = {1: {"a": 900_000, "b": 100_000}, 2: {"a": 100_000, "b": 900_000}}
    assert not sample_ratio(trials, served).alarm
    assert sample_ratio(trials, {1: served[1], 2: served[1]}).alarm  # teeth


def test_variants_without_weight_are_a_leak_and_not_a_ratio() -> None:
    trials = {(1, "a"): 10_000, (1, "b"): 6}
    served = {1: {"a": 1_000_000, "b": 0}}
    assert not sample_ratio(trials, served).alarm
    assert [(leak.variant, leak.n_units) for leak in find_leaks(trials, served)] == [("b", 6)]


@pytest.mark.parametrize(("n", "leaked", "found"), [(100, 5, 0), (100, 6, 1), (200_000, 20, 0), (200_000, 25, 1)])
def test_a_leak_is_more_than_five_and_more_than_one_in_ten_thousand(n: int, leaked: int, found: int) -> None:
    served = {1: {"a": 1_000_000, "b": 0}}
    assert len(find_leaks({(1, "a"): n, (1, "b"): leaked}, served)) == found


def test_no_traffic_is_no_alarm() -> None:
    assert sample_ratio({}, {}).evalue == 1
    assert sample_ratio({(1, "a"): 0}, {1: {"a": 1_000_000}}).evalue == 1
    assert find_leaks({}, {}) == ()
