"""A/B tests: textbook numbers where there is a textbook, never a NaN, one plain sentence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimtab.inference import (
    ABResult,
    Comparison,
    Measured,
    analyze_ab,
    look,
    plan_test,
    sample_ratio,
    sample_size_for_means,
    sample_size_for_rates,
)
from unit.inference.given import CROOK, Sums, binary, cells_of, metric, two_variant_rows, value_rows, values_cell


def analyzed(rows: list[list[Sums]], kind: str = "binary", **changes: object) -> ABResult:
    direction = changes.pop("direction", "increase")
    measured = [Measured(metric(kind, direction=direction), cells_of(rows))]
    return analyze_ab(measured, "a", **{"one_look": True, "min_sample": 1, **changes})  # type: ignore[arg-type]


def compared(rows: list[list[Sums]], kind: str = "binary") -> Comparison:
    return analyzed(rows, kind).of("m", "b")


@given(st.integers(200, 5000), st.integers(200, 5000), st.floats(.06, .94), st.floats(.06, .94))
def test_large_tables_give_the_two_proportion_z_test(n_0: int, n_1: int, p_0: float, p_1: float) -> None:
    """Pooled z: its square is χ² of the table without continuity correction, as scipy computes it."""
    s_0, s_1 = int(p_0 * n_0), int(p_1 * n_1)
    found = compared([[binary(n_0, s_0), binary(n_1, s_1)]])
    expected = stats.chi2_contingency([[s_0, n_0 - s_0], [s_1, n_1 - s_1]], correction=False).pvalue
    assert found.method == "two-proportion z test"
    assert found.pvalue == pytest.approx(expected, rel=1e-9, abs=1e-300)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_small_tables_give_fishers_exact_test(n_0: int, n_1: int, data: st.DataObject) -> None:
    s_0, s_1 = data.draw(st.integers(0, min(n_0, 4))), data.draw(st.integers(0, min(n_1, 4)))
    found = compared([[binary(n_0, s_0), binary(n_1, s_1)]])
    if found.method == "Fisher's exact test":
        expected = stats.fisher_exact([[s_0, n_0 - s_0], [s_1, n_1 - s_1]]).pvalue
        assert found.pvalue == pytest.approx(expected, rel=1e-9)


def test_the_exact_test_of_millions_of_units_keeps_its_digits() -> None:
    """Three successes more than chance allows among 10⁸ units: against exact fractions."""
    n_0, n_1, hits = 10**8, 10**5, 6
    found = compared([[binary(n_0, 2), binary(n_1, 4)]])
    chances = [math.comb(n_1, k) * math.comb(n_0, hits - k) for k in range(hits + 1)]
    total = math.comb(n_0 + n_1, hits)
    assert found.pvalue == pytest.approx(sum(c for c in chances if c <= chances[4]) / total, rel=1e-9)


def test_strata_of_small_tables_give_the_exact_conditional_test() -> None:
    """Two tables: probabilities of all totals, by enumeration."""
    rows = [[binary(8, 1), binary(5, 3)], [binary(6, 0), binary(9, 3)]]
    found = compared(rows)
    first, second = stats.hypergeom(13, 4, 5), stats.hypergeom(15, 3, 9)
    chances: dict[int, float] = {}
    for i, j in itertools.product(range(5), range(4)):
        chances[i + j] = chances.get(i + j, 0) + float(first.pmf(i) * second.pmf(j))
    expected = sum(p for p in chances.values() if p <= chances[6] * (1 + 1e-9))
    assert found.method == "stratified Fisher's exact test"
    assert found.pvalue == pytest.approx(expected, rel=1e-9)


varied = st.lists(st.integers(-999, 999), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1)


@given(varied, varied)
def test_means_give_welchs_test_and_its_interval(control: list[int], treatment: list[int]) -> None:
    found = compared([[values_cell(control), values_cell(treatment)]], "continuous")
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    interval = expected.confidence_interval(.95)
    assert found.method == "Welch's t test"
    assert found.pvalue == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)
    assert found.effect_size_ci_lower == pytest.approx(interval.low, rel=1e-9, abs=1e-9)
    assert found.effect_size_ci_upper == pytest.approx(interval.high, rel=1e-9, abs=1e-9)


def test_the_interval_of_two_rates_is_newcombes_from_wilsons() -> None:
    """Newcombe 1998, method 10: 56/70 against 48/80 is .0524 … .3339 in his table II."""
    found = compared([[binary(80, 48), binary(70, 56)]])
    assert found.effect_size_ci_lower == pytest.approx(.0524, abs=5e-5)
    assert found.effect_size_ci_upper == pytest.approx(.3339, abs=5e-5)


def test_crooks_table_ships_the_treatment_in_one_look_too() -> None:
    result = analyzed(CROOK)
    assert result.winner == "b"
    assert result.of("m", "b").method == "stratified two-proportion z test"


@given(two_variant_rows(), st.sampled_from(["increase", "decrease"]), st.booleans())
def test_no_counts_give_a_nan(rows: list[list[Sums]], direction: str, one_look: bool) -> None:
    """0/0, 0/n, n/n, variants that never met: p stays in [0, 1] and every number is finite or absent."""
    _check_finite(analyzed(rows, direction=direction, one_look=one_look))


@given(value_rows(), st.sampled_from(["increase", "decrease"]))
def test_no_values_give_a_nan(rows: list[list[list[int]]], direction: str) -> None:
    sums = [[values_cell(cell) for cell in row] for row in rows]
    _check_finite(analyzed(sums, "continuous", direction=direction))


def _check_finite(result: ABResult) -> None:
    for found in result.comparisons:
        assert 0 <= found.pvalue <= 1
        numbers = [value for value in vars(found).values() if isinstance(value, float)]
        assert np.isfinite(numbers).all()
        if None not in (found.effect_size, found.effect_size_ci_lower):
            assert found.effect_size_ci_lower <= found.effect_size <= found.effect_size_ci_upper  # type: ignore[operator]
    assert "nan" not in result.recommendation


@given(two_variant_rows())
def test_turning_the_direction_turns_the_verdict(rows: list[list[Sums]]) -> None:
    """What is better where more is better is worse where less is; p-values do not care."""
    up, down = analyzed(rows), analyzed(rows, direction="decrease")
    assert up.of("m", "b").pvalue == down.of("m", "b").pvalue
    assert {up.winner, down.winner} in ({None}, {"a", "b"})


def test_the_sentence_says_ship() -> None:
    result = analyzed([[binary(1000, 100), binary(1000, 150)]])
    assert result.winner == "b"
    assert result.recommendation == "Ship b: m is 50 % (p < .001) better."


def test_the_sentence_says_keep_control() -> None:
    result = analyzed([[binary(1000, 100), binary(1000, 150)]], direction="decrease")
    assert result.winner == "a"
    assert result.recommendation == "Keep control a: m is 50 % (p < .001) worse with b."


def test_the_sentence_says_no_significant_difference() -> None:
    result = analyzed([[binary(1000, 100), binary(1000, 104)]])
    assert result.winner is None
    assert result.recommendation == "No significant difference in m (p = .768)."


def test_the_sentence_says_insufficient_data() -> None:
    result = analyzed([[binary(99, 1), binary(1000, 900)]], min_sample=100)
    assert (result.winner, result.enough) == (None, False)
    assert result.recommendation == "Insufficient data (need 100 per group): the smallest group has 99."


def test_a_split_that_is_not_as_served_forbids_a_verdict() -> None:
    ratio = sample_ratio({(1, "a"): 1000, (1, "b"): 1400}, {1: {"a": 500_000, "b": 500_000}})
    result = analyzed([[binary(1000, 100), binary(1400, 210)]], sample_ratio=ratio)
    assert result.winner is None
    assert result.recommendation.startswith("Do not decide on these data.")


def test_the_best_of_several_treatments_is_shipped_at_a_shared_level() -> None:
    result = analyzed([[binary(1000, 100), binary(1000, 150), binary(1000, 180)]])
    assert result.winner == "c"
    assert result.of("m", "b").alpha == .025


def test_secondary_metrics_are_reported_and_warn_but_do_not_decide() -> None:
    primary = Measured(metric(name="done"), cells_of([[binary(1000, 500), binary(1000, 600)]]))
    slower = [[values_cell([3, 4, 5] * 300), values_cell([6, 7, 8] * 300)]]
    seconds = Measured(metric("continuous", name="seconds", primary=False, direction="decrease"), cells_of(slower))
    result = analyze_ab([seconds, primary], "a", one_look=True)
    assert result.winner == "b"
    assert result.recommendation.endswith("better, though seconds is worse.")
    assert [group.mean for group in result.groups["seconds"]] == [4, 7]


def test_without_a_promise_of_one_look_the_claims_are_always_valid() -> None:
    cells = cells_of([[binary(4000, 400), binary(4000, 480)]])
    claim = look(cells, metric(), "a", "b", plan=plan_test(cells, metric(), "a", "b"))
    result = analyze_ab([Measured(metric(), cells)], "a", claims={("m", "b"): claim})
    found = result.of("m", "b")
    assert found.method == "always-valid mixture test"
    assert found.pvalue == claim.pvalue > compared([[binary(4000, 400), binary(4000, 480)]]).pvalue


@pytest.mark.parametrize(
    ("kind", "least"),
    [("binary", "10 of the rarer outcome in the smaller group"), ("count", "100 units in each group")],
)
def test_without_the_least_evidence_of_its_test_the_sentence_says_so_and_names_no_pvalue(kind: str, least: str) -> None:
    """p = 1.000 would read as proof of no difference where nothing was tested."""
    cells = cells_of([[binary(50, 2), binary(50, 9)]])
    claim = look(cells, metric(kind), "a", "b", plan=plan_test(cells, metric(kind), "a", "b"))
    result = analyze_ab([Measured(metric(kind), cells)], "a", claims={("m", "b"): claim}, min_sample=50)
    assert result.recommendation == f"No difference in m can be claimed yet: its test takes at least {least}."
    assert not result.of("m", "b").enough
    enough = cells_of([[binary(500, 20), binary(500, 21)]])
    claim = look(enough, metric(kind), "a", "b", plan=plan_test(enough, metric(kind), "a", "b"))
    tested = analyze_ab([Measured(metric(kind), enough)], "a", claims={("m", "b"): claim})
    assert tested.recommendation == "No significant difference in m (p = 1.000)."


def test_an_effect_that_changes_over_time_is_no_difference_and_the_sentence_says_why() -> None:
    """Clearly better, then clearly worse: p is small, but no one difference explains both."""
    good, bad = [binary(2000, 200), binary(2000, 500)], [binary(9000, 4000), binary(9000, 900)]
    plan = plan_test(cells_of([good]), metric(), "a", "b")
    first = look(cells_of([good]), metric(), "a", "b", plan=plan)
    claim = look(cells_of([good, bad]), metric(), "a", "b", plan=plan, before=first)
    result = analyze_ab([Measured(metric(), cells_of([good, bad]))], "a", claims={("m", "b"): claim})
    assert result.winner is None
    assert result.recommendation == "No difference in m can be claimed: the effect of b changes over time."


def test_the_seeds_worst_cases_are_sane() -> None:
    """0/100 against 5/100 is not significant; 0/2 against 2/2 is not p = 0; all ones is p = 1, not NaN."""
    assert compared([[binary(100, 0), binary(100, 5)]]).pvalue == pytest.approx(.0594, abs=1e-4)
    assert compared([[binary(2, 0), binary(2, 2)]]).pvalue == pytest.approx(1 / 3)
    assert compared([[binary(100, 100), binary(100, 100)]]).pvalue == 1


def test_two_constants_are_told_apart_by_their_number_alone() -> None:
    """Without spread there is no t; ten 3s against ten 4s is 2 in C(20, 10)."""
    found = compared([[values_cell([3] * 10), values_cell([4] * 10)]], "continuous")
    assert found.pvalue == pytest.approx(2 / math.comb(20, 10))
    assert compared([[values_cell([3] * 10), values_cell([3] * 10)]], "continuous").pvalue == 1


def test_the_planned_sample_has_the_planned_power() -> None:
    """10 % → 12 % needs 3,841 a group (Fleiss 1981, without correction); means 2((1.960 + .842)·sd/δ)²."""
    assert sample_size_for_rates(.10, .02) == 3841
    assert sample_size_for_means(10, 1) == math.ceil(2 * ((1.959964 + .841621) * 10) ** 2)
