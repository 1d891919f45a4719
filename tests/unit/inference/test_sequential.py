"""The always-valid claim as a step: nothing before its evidence, running minimum, running intersection."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.inference import Claim, SequentialPlan, e_bh, look, plan_test
from trimtab.inference.looks import looks
from trimtab.inference.mixture import log_evalue, rho_for
from trimtab.inference.pairs import pair_of
from trimtab.schema.experiment import MetricKind
from unit.inference.given import CROOK, Sums, binary, cells_of, metric, two_variant_rows, values_cell

PLAN = SequentialPlan(alpha=.05, rho=20.0)


def claims(rows: list[list[Sums]], plan: SequentialPlan | None = PLAN) -> list[Claim]:
    """One look after each epoch."""
    found: list[Claim] = []
    for e in range(1, len(rows) + 1):
        before = found[-1] if found else None
        found.append(look(cells_of(rows[:e]), metric(), "a", "b", plan=plan, before=before))
    return found


def test_crooks_friday_and_saturday_are_decided_for_the_treatment() -> None:
    """Simpson's paradox as published: better on both days, yet 1.68 % against 1.22 % in the pooled table."""
    cells = cells_of(CROOK)
    plan = plan_test(cells, metric(), "a", "b", planned_units=2_000_000)
    claim = look(cells, metric(), "a", "b", plan=plan)
    assert claim.favours_treatment("increase")
    assert claim.pvalue < 1e-6
    assert claim.rel_effect_size is not None
    assert claim.rel_effect_size > .15
    pooled = np.array(cells.totals) / np.array(cells.trials)
    assert pooled[1] < pooled[0]  # teeth: what the wrong method reads off


def test_nothing_is_claimed_before_the_minimum_evidence() -> None:
    """Nine rare events on the smaller side are too few, however far apart the rates are; ten are enough."""
    few = cells_of([[binary(500, 0), binary(500, 19)]])
    assert plan_test(few, metric(), "a", "b") is None
    claim = look(few, metric(), "a", "b", plan=PLAN)
    assert (claim.enough, claim.pvalue, claim.effect_size_ci_lower, claim.n_looks) == (False, 1.0, None, 1)
    assert not claim.significant
    assert plan_test(cells_of([[binary(500, 0), binary(500, 21)]]), metric(), "a", "b") is not None


def test_the_plan_divides_alpha_and_scales_with_the_metric() -> None:
    """α' = α/(K − 1); ρ = .3·N·s²/4 / (−W₋₁(−α'²/e) − 1) with s² = p(1 − p)."""
    cells = cells_of([[binary(1000, 100), binary(1000, 100)]])
    plan = plan_test(cells, metric(), "a", "b", alpha=.05, n_comparisons=4, planned_units=8000)
    assert plan is not None
    assert plan.alpha == pytest.approx(.0125)
    assert plan.rho == pytest.approx(rho_for(.3 * 8000 * .09 / 4, .0125), rel=1e-3)


@given(two_variant_rows(max_epochs=4))
def test_pvalues_never_rise_and_bounds_never_widen(rows: list[list[Sums]]) -> None:
    found = claims(rows)
    for before, after in itertools.pairwise(found):
        assert after.pvalue <= before.pvalue
        if not after.effect_changes and before.effect_size_ci_lower is not None:
            assert after.effect_size_ci_lower is not None
            assert after.effect_size_ci_lower >= before.effect_size_ci_lower
        assert after.effect_changes or not before.effect_changes
        assert after.enough or not before.enough


@given(two_variant_rows(max_epochs=4))
def test_a_claim_survives_the_ledger(rows: list[list[Sums]]) -> None:
    """Plain, finite numbers: written as strict JSON and read back, a claim is the same."""
    claim = claims(rows)[-1]
    assert Claim(**json.loads(json.dumps(asdict(claim), allow_nan=False))) == claim


@given(two_variant_rows(max_epochs=1))
def test_the_pvalue_is_one_over_the_evalue(rows: list[list[Sums]]) -> None:
    claim = claims(rows)[-1]
    if claim.enough:
        now = looks(pair_of(cells_of(rows), MetricKind.BINARY, "a", "b"), MetricKind.BINARY).last
        expected = min(1.0, float(np.exp(-log_evalue(now.score, now.variance, PLAN.rho))))
        assert claim.pvalue == pytest.approx(expected, rel=1e-9)


@given(st.integers(200, 3000), st.floats(.1, .9), st.floats(.1, .9))
def test_with_even_traffic_the_interval_leaves_out_zero_exactly_when_the_test_rejects(
    n: int, rate_0: float, rate_1: float
) -> None:
    """V with and without an effect agree at equal shares, up to the difference itself; near the edge they may not."""
    claim = claims([[binary(n, int(rate_0 * n)), binary(n, int(rate_1 * n))]])[0]
    assert claim.effect_size_ci_lower is not None
    assert claim.effect_size_ci_upper is not None
    excluded = claim.effect_size_ci_lower > 0 or claim.effect_size_ci_upper < 0
    if not .04 < claim.pvalue < .06:
        assert excluded == claim.significant
    relative = claim.rel_effect_size_ci_lower, claim.rel_effect_size_ci_upper
    assert relative[0] is not None
    assert (relative[0] > 0) == (claim.effect_size_ci_lower > 0)
    assert relative[1] is None or (relative[1] < 0) == (claim.effect_size_ci_upper < 0)


def test_an_effect_that_turns_round_is_called_changing_and_never_shipped() -> None:
    """First clearly better, then clearly worse: no one effect explains both, so the intersection is empty."""
    good, bad = [binary(2000, 200), binary(2000, 500)], [binary(9000, 4000), binary(9000, 900)]
    found = claims([good, bad, bad])
    assert found[0].favours_treatment("increase")
    assert found[-1].effect_changes
    assert found[-1].significant
    assert not found[-1].favours_treatment("increase")
    assert not found[-1].favours_treatment("decrease")


def test_where_lower_is_better_a_lower_treatment_is_favoured() -> None:
    claim = claims([[binary(2000, 500), binary(2000, 200)]])[0]
    assert claim.favours_treatment("decrease")
    assert not claim.favours_treatment("increase")


def test_a_control_without_successes_has_no_relative_lift_and_no_nan() -> None:
    claim = claims([[binary(1000, 0), binary(1000, 60)]])[0]
    assert claim.significant
    assert claim.rel_effect_size is None
    assert claim.rel_effect_size_ci_upper is None


def test_rescaling_a_metric_leaves_the_pvalue() -> None:
    """Cents or dollars: ρ is in the metric's unit squared, so the two agree to the last digits."""
    values = [[values_cell([3, 5, 9, 2] * 60), values_cell([4, 7, 9, 3] * 60)]]
    cents, dollars = cells_of(values), cells_of(values, scale=100)
    revenue = metric("continuous")
    found = [
        look(cells, revenue, "a", "b", plan=plan_test(cells, revenue, "a", "b")) for cells in (cents, dollars)
    ]
    assert found[0].pvalue == pytest.approx(found[1].pvalue, rel=1e-12)
    assert found[0].rel_effect_size_ci_lower == pytest.approx(found[1].rel_effect_size_ci_lower, rel=1e-9)


def test_e_bh_calls_the_most_that_the_false_discovery_rate_allows() -> None:
    """m = 4, α = .05: k treatments need e-values of 80/k at least; 41 and 40 pass together, alone neither does."""
    assert e_bh({"a": 41.0, "b": 40.0, "c": 2.0, "d": .5}) == {"a", "b"}
    assert e_bh({"a": 41.0, "b": 39.0, "c": 2.0, "d": .5}) == frozenset()
    assert e_bh({}) == frozenset()
