"""The effect to report: weighed by traffic, unbiased under logged propensities, honest about what it covers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given

from trimtab.inference import aipw_effect, stratified_effect
from unit.inference.given import CROOK, Sums, binary, cells_of, metric, two_variant_rows, values_cell


def test_crooks_two_days_give_the_traffic_weighted_difference() -> None:
    found = stratified_effect(cells_of(CROOK), metric(), "a", "b")
    friday, saturday = 230 / 10_000 - 20_000 / 990_000, 6_000 / 500_000 - 5_000 / 500_000
    assert found.effect_size == pytest.approx((friday + saturday) / 2, rel=1e-12)
    assert found.share_covered == 1
    assert found.effect_size_ci_lower is not None
    assert found.effect_size_ci_lower > 0


def test_epochs_that_compare_nothing_are_left_out_and_counted() -> None:
    rows = [[binary(300, 30), binary(100, 20)], [binary(600, 300), binary(0, 0)]]
    found = stratified_effect(cells_of(rows), metric(), "a", "b")
    assert found.effect_size == pytest.approx(.1)
    assert found.share_covered == pytest.approx(.4)
    assert stratified_effect(cells_of(rows[1:]), metric(), "a", "b").effect_size is None


def test_aipw_is_exactly_unbiased_though_cells_may_be_empty() -> None:
    """All 2⁶ assignments of six units at shares .7 and .3, each with its probability: the mean is the true difference.

    Teeth: the difference of means where both are there is not.
    """
    y_0, y_1 = [4, 0, 7, 2, 2, 9], [6, 1, 7, 5, 0, 13]
    truth = float(np.mean(y_1) - np.mean(y_0))
    mean = naive = 0.0
    for assigned in itertools.product((0, 1), repeat=6):
        chance = float(np.prod([.3 if k else .7 for k in assigned]))
        control = [y for y, k in zip(y_0, assigned, strict=True) if not k]
        treatment = [y for y, k in zip(y_1, assigned, strict=True) if k]
        cells = cells_of([[values_cell(control), values_cell(treatment)]])
        found = aipw_effect(cells, metric("continuous"), "a", "b", {"a": np.array([.7]), "b": np.array([.3])})
        assert found.effect_size is not None
        mean += chance * found.effect_size
        naive += chance * (np.mean(treatment) if treatment else 0) - chance * (np.mean(control) if control else 0)
    assert mean == pytest.approx(truth, rel=1e-12)
    assert abs(naive - truth) > .1


def test_aipw_covers_an_epoch_whose_treatment_met_nobody() -> None:
    rows = [[binary(300, 30), binary(100, 20)], [binary(10, 3), binary(0, 0)], [binary(50, 5), binary(0, 0)]]
    served = {"a": np.array([.75, .95, 1.0]), "b": np.array([.25, .05, 0.0])}
    found = aipw_effect(cells_of(rows), metric(), "a", "b", served)
    assert found.share_covered == pytest.approx(410 / 460)
    assert found.effect_size is not None
    assert found.effect_size == pytest.approx(.1, abs=.02)


def test_with_shares_as_served_aipw_and_the_difference_of_means_agree() -> None:
    rows = [[binary(500, 60), binary(500, 90)]]
    found = aipw_effect(cells_of(rows), metric(), "a", "b", {"a": np.array([.5]), "b": np.array([.5])})
    plain = stratified_effect(cells_of(rows), metric(), "a", "b")
    assert found.effect_size == pytest.approx(plain.effect_size, rel=2e-3)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=2e-2)


@given(two_variant_rows())
def test_effects_are_finite_or_absent(rows: list[list[Sums]]) -> None:
    cells = cells_of(rows)
    half = np.full(len(rows), .5)
    for found in (
        stratified_effect(cells, metric(), "a", "b"),
        aipw_effect(cells, metric(), "a", "b", {"a": half, "b": half}),
    ):
        assert 0 <= found.share_covered <= 1 + 1e-12
        if found.effect_size is not None:
            numbers = (found.effect_size, found.effect_size_ci_lower, found.effect_size_ci_upper)
            assert np.isfinite(np.array(numbers, float)).all()
