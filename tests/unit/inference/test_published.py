"""Published numbers and established libraries: where they compute the same thing, so do we, to 1e-9.

Crook et al. 2009's Friday and Saturday are decided in `test_sequential`, `test_contract`, `test_ab` and in the report's
tests; Newcombe's table in `test_ab`; the split's likelihood ratio against scipy's multinomial in `test_sample_ratio`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from trimtab.engine import probability_best_beta
from trimtab.inference import Measured, analyze_ab, sample_size_for_rates
from trimtab.inference.looks import looks
from trimtab.inference.pairs import pair_of
from trimtab.schema.experiment import MetricKind
from unit.inference.given import CROOK, Sums, binary, cells_of, metric, values_cell

SCOTT = [
    ((10, 20, 30, 50), (100, 102, 120, 130)),
    ((10, 20, 30, 33), (100, 102, 120, 130)),
    ((10, 20, 30, 80), (100, 102, 120, 240)),
    ((2, 20), (100, 1000)),
]
"""Successes and trials of the examples of R's `bandit` 0.5.1, which implements Scott 2010 with uniform priors."""


@pytest.mark.parametrize(("successes", "trials"), SCOTT)
def test_scotts_optimal_arm_probabilities_are_his_integral(
    successes: tuple[int, ...], trials: tuple[int, ...]
) -> None:
    """Scott 2010 (ASMBI 26, 639–658): w_k = ∫ Beta(θ; y_k + 1, n_k − y_k + 1) Π_{j≠k} Pr(θ_j < θ | y_j) dθ."""
    arms = [stats.beta(y + 1, n - y + 1) for y, n in zip(successes, trials, strict=True)]

    def share(k: int) -> float:
        others = [arm for j, arm in enumerate(arms) if j != k]
        cuts = np.unique(np.concatenate([arm.ppf([1e-12, .5, 1 - 1e-12]) for arm in arms]))
        pieces = (
            integrate.quad(lambda x: arms[k].pdf(x) * math.prod(arm.cdf(x) for arm in others), a, b, epsabs=1e-12)[0]
            for a, b in pairwise(cuts)
        )
        return float(sum(pieces))

    y, n = np.array(successes), np.array(trials)
    assert probability_best_beta(y + 1, n - y + 1) == pytest.approx([share(k) for k in range(len(arms))], abs=1e-9)


some = st.integers(3, 80)  # with one outcome or none of a kind the bar is 1e-6, which tests of the engine hold


@given(some, some, some, some)
def test_the_chance_to_win_is_millers_sum(hits_a: int, misses_a: int, hits_b: int, misses_b: int) -> None:
    """Evan Miller's closed form, with uniform priors:

    Pr(p_B > p_A) = Σ_{i < α_B} B(α_A + i, β_A + β_B) / ((β_B + i) B(1 + i, β_B) B(α_A, β_A)).
    """
    alpha_a, beta_a, alpha_b, beta_b = (count + 1 for count in (hits_a, misses_a, hits_b, misses_b))
    i = np.arange(alpha_b)
    logs = special.betaln(alpha_a + i, beta_a + beta_b) - np.log(beta_b + i) - special.betaln(1 + i, beta_b)
    chance = float(np.exp(logs - special.betaln(alpha_a, beta_a)).sum())
    found = probability_best_beta([alpha_a, alpha_b], [beta_a, beta_b])
    assert found[1] == pytest.approx(chance, abs=1e-9)


def test_fleiss_sample_size_of_four_against_five_per_cent() -> None:
    """The root that R's power.prop.test finds, n = 11165.99 a group at α = .05 and power .95, rounded up."""
    assert sample_size_for_rates(.04, .01, power=.95) == 11_166


tables = st.tuples(st.integers(200, 5000), st.integers(200, 5000), st.floats(.05, .95), st.floats(.05, .95))


def rates(n_0: int, n_1: int, p_0: float, p_1: float) -> list[Sums]:
    return [binary(n_0, int(p_0 * n_0)), binary(n_1, int(p_1 * n_1))]


@given(tables)
def test_two_proportions_agree_with_statsmodels(table: tuple[int, int, float, float]) -> None:
    """Pooled z and Newcombe's interval of the difference."""
    (n_0, s_0, _), (n_1, s_1, _) = row = rates(*table)
    found = analyze_ab([Measured(metric(), cells_of([row]))], "a", one_look=True, min_sample=1).of("m", "b")
    assert found.pvalue == pytest.approx(proportions_ztest([s_1, s_0], [n_1, n_0])[1], rel=1e-9, abs=1e-300)
    low, high = confint_proportions_2indep(s_1, n_1, s_0, n_0, method="newcomb", compare="diff")
    assert (found.effect_size_ci_lower, found.effect_size_ci_upper) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


@given(st.lists(tables, min_size=2, max_size=5))
def test_score_and_variance_over_epochs_are_those_of_mantel_and_haenszel(
    epochs: list[tuple[int, int, float, float]],
) -> None:
    """Statsmodels' test of a common odds ratio of 1, without correction: χ² = S²/V."""
    rows = [rates(*epoch) for epoch in epochs]
    now = looks(pair_of(cells_of(rows), MetricKind.BINARY, "a", "b"), MetricKind.BINARY).last
    strata = [np.array([[s_1, n_1 - s_1], [s_0, n_0 - s_0]], float) for (n_0, s_0, _), (n_1, s_1, _) in rows]
    expected = StratifiedTable(strata).test_null_odds(correction=False).statistic
    assert float(now.score**2 / now.variance) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_crooks_two_days_are_decided_by_mantel_and_haenszel_too() -> None:
    strata = [np.array([[s_1, n_1 - s_1], [s_0, n_0 - s_0]], float) for (n_0, s_0, _), (n_1, s_1, _) in CROOK]
    found = analyze_ab([Measured(metric(), cells_of(CROOK))], "a", one_look=True).of("m", "b")
    assert found.pvalue == pytest.approx(StratifiedTable(strata).test_null_odds(correction=False).pvalue, rel=1e-9)
    assert found.better


varied = st.lists(st.integers(-999, 999), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1)


@given(varied, varied)
def test_means_agree_with_statsmodels(control: list[int], treatment: list[int]) -> None:
    """Plain means (no covariate adjusts them), Welch's p, and the interval of the difference."""
    cells = cells_of([[values_cell(control), values_cell(treatment)]])
    result = analyze_ab([Measured(metric("continuous"), cells)], "a", one_look=True, min_sample=1)
    found, theirs = result.of("m", "b"), CompareMeans(DescrStatsW(treatment), DescrStatsW(control))
    assert [group.mean for group in result.groups["m"]] == pytest.approx(
        [theirs.d2.mean, theirs.d1.mean], rel=1e-9, abs=1e-9
    )
    assert found.pvalue == pytest.approx(theirs.ttest_ind(usevar="unequal")[1], rel=1e-9, abs=1e-300)
    bounds = theirs.tconfint_diff(usevar="unequal")
    assert (found.effect_size_ci_lower, found.effect_size_ci_upper) == pytest.approx(bounds, rel=1e-9, abs=1e-9)
