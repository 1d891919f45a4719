"""The decision contract: its numbers against closed forms, its rules in their order, its gate."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from trimtab.engine import Belief, Cells, estimate
from trimtab.inference import (
    Advice,
    Assessment,
    Claim,
    DecisionThresholds,
    EffectPosterior,
    assess,
    look,
    plan_test,
    recommend,
    typical_mean,
    value_of_one_more_round,
)
from trimtab.inference.posterior import fitted_mean
from trimtab.schema.experiment import Metric, MetricKind
from unit.inference.given import CROOK, Sums, binary, cells_of, metric, two_variant_rows

PROVEN = Claim(.05, 1, True, 1e-6, 1e6, .01, .005, .015)
GOOD = Assessment(.01, .001, .008, .012, .99, .95, .0, .0001, .01, .0, .001, .0005)


def belief_of(cells: Cells, of: Metric) -> Belief:
    found = estimate(cells, of.kind)
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd)


def posterior_of(cells: Cells, of: Metric) -> EffectPosterior:
    return EffectPosterior.of(belief_of(cells, of), cells, of, "a", "b")


def advice(found: Assessment, claim: Claim | None = PROVEN, **changes: object) -> Advice:
    return recommend("b", found, claim, "increase", **changes).advice  # type: ignore[arg-type]


@given(st.floats(-3, 3), st.floats(.05, 2), st.floats(.1, 5))
def test_on_a_continuous_metric_all_numbers_have_closed_forms(mean: float, sd: float, unit: float) -> None:
    """E[δ⁺] = mΦ(m/s) + sφ(m/s), P(δ > c) = Φ((m − c)/s)."""
    found = assess(EffectPosterior(MetricKind.CONTINUOUS, mean, sd, 0.0, unit), "increase")
    density = math.exp(-((mean / sd) ** 2) / 2) / math.sqrt(2 * math.pi)
    gain = mean * ndtr(mean / sd) + sd * density
    assert found.expected_loss_control == pytest.approx(gain, rel=1e-8, abs=1e-12)
    assert found.expected_loss == pytest.approx(gain - mean, rel=1e-8, abs=1e-8)
    assert found.p_better == pytest.approx(ndtr((mean - .02 * unit) / sd), rel=1e-9)
    assert (found.effect_size, found.effect_sd) == pytest.approx((mean, sd), rel=1e-8, abs=1e-9)


@given(st.floats(-1, 1), st.floats(.01, .5), st.floats(.5, 100))
def test_on_revenue_the_mean_is_the_log_normals(mean: float, sd: float, base: float) -> None:
    """δ = u(e^Δ − 1), so E[δ] = u(exp(m + s²/2) − 1) and P(δ > .02u) = P(Δ > ln 1.02)."""
    found = assess(EffectPosterior(MetricKind.REVENUE, mean, sd, base, base), "increase")
    assert found.effect_size == pytest.approx(base * math.expm1(mean + sd**2 / 2), rel=1e-8, abs=1e-9)
    assert found.p_better == pytest.approx(ndtr((mean - math.log(1.02)) / sd), rel=1e-8, abs=1e-15)


@given(st.floats(-1, 1), st.floats(.01, .5), st.floats(.01, .99))
def test_on_a_binary_metric_numbers_agree_with_draws(mean: float, sd: float, base: float) -> None:
    """A quantile grid of 4,000 points stands in for draws: errors below .2 % of the spread."""
    found = assess(EffectPosterior(MetricKind.BINARY, mean, sd, base, base), "increase")
    from scipy.special import ndtri

    contrast = mean + sd * ndtri((np.arange(4000) + .5) / 4000)
    delta = 1 / (1 + np.exp(-(np.log(base / (1 - base)) + contrast))) - base
    spread = float(delta.std())
    assert found.effect_size == pytest.approx(delta.mean(), abs=.002 * spread)
    assert found.expected_loss == pytest.approx(np.maximum(-delta, 0).mean(), abs=.002 * spread)
    assert found.p_harmful == pytest.approx((delta < -.02 * base).mean(), abs=3e-4)
    assert found.effect_size_ci_lower == pytest.approx(np.quantile(delta, .1), abs=.01 * spread)


@given(st.floats(-1, 1), st.floats(.01, .5), st.floats(.01, .99))
def test_where_lower_is_better_the_mirror_image_is_said(mean: float, sd: float, base: float) -> None:
    """Success and failure change places: rate 1 − base, contrast −Δ; margins in absolute terms."""
    bounds = DecisionThresholds.absolute(min_practical_effect=.005)
    down = assess(EffectPosterior(MetricKind.BINARY, mean, sd, base, base), "decrease", bounds)
    up = assess(EffectPosterior(MetricKind.BINARY, -mean, sd, 1 - base, 1 - base), "increase", bounds)
    for name in ("effect_size", "p_positive", "p_better", "p_harmful", "expected_loss", "effect_size_ci_upper"):
        assert getattr(down, name) == pytest.approx(getattr(up, name), rel=1e-6, abs=1e-9)


@given(two_variant_rows())
def test_any_cells_give_finite_numbers_between_their_bounds(rows: list[list[Sums]]) -> None:
    found = assess(posterior_of(cells_of(rows), metric()), "increase")
    assert np.isfinite(list(vars(found).values())).all()
    assert all(0 <= p <= 1 for p in (found.p_positive, found.p_better, found.p_harmful))
    assert found.p_better <= found.p_positive + 1e-12
    assert found.expected_loss_control - found.expected_loss == pytest.approx(found.effect_size, abs=1e-9)


def test_relative_margins_make_the_contract_free_of_units() -> None:
    """Cents and dollars get the same word; the seed's absolute thresholds do not (its scale trap)."""
    dollars = EffectPosterior(MetricKind.REVENUE, .05, .02, 1.0, 1.0)
    cents = replace(dollars, base=100.0, unit=100.0)
    one, other = assess(dollars, "increase"), assess(cents, "increase")
    assert one.p_better == pytest.approx(other.p_better)
    assert one.expected_loss / one.tolerance == pytest.approx(other.expected_loss / other.tolerance)
    seed = DecisionThresholds.absolute()
    assert assess(dollars, "increase", seed).margin == assess(cents, "increase", seed).margin == .02


def test_a_certain_ten_percent_more_conversions_ships_but_is_futile_by_the_seeds_thresholds() -> None:
    """3.0 % → 3.3 % with certainty: SHIP; under an absolute margin of .02 it is STOP, as in the seed."""
    certain = EffectPosterior(MetricKind.BINARY, math.log(.033 / .967) - math.log(.03 / .97), .001, .03, .03)
    assert advice(assess(certain, "increase")) is Advice.SHIP
    seed = DecisionThresholds.absolute()
    assert advice(assess(certain, "increase", seed), thresholds=seed) is Advice.STOP


def test_all_comparisons_are_strict() -> None:
    """At a bound exactly, nothing happens."""
    assert advice(GOOD) is Advice.SHIP
    for at_bound in (
        replace(GOOD, expected_loss=GOOD.tolerance),
        replace(GOOD, p_positive=.95),
        replace(GOOD, p_better=.80),
    ):
        assert advice(at_bound) is Advice.CONTINUE
    middling = replace(GOOD, p_positive=.5, p_better=.3)
    assert advice(replace(middling, p_harmful=.90)) is Advice.CONTINUE
    assert advice(replace(middling, p_harmful=.901)) is Advice.STOP
    assert advice(replace(middling, p_better=.05)) is Advice.CONTINUE
    assert advice(replace(middling, p_better=.049)) is Advice.STOP


def test_shipping_comes_before_stopping() -> None:
    """Under loose thresholds both rules may hold; the first one speaks."""
    loose = DecisionThresholds(p_positive=.1, p_better=.06, harm=.1)
    both = replace(GOOD, p_harmful=.5)
    assert advice(both, thresholds=loose) is Advice.SHIP


@pytest.mark.parametrize(
    "claim",
    [
        None,
        replace(PROVEN, pvalue=.06),
        replace(PROVEN, effect_size=-.01),
        replace(PROVEN, effect_changes=True),
    ],
    ids=["no claim", "not significant", "other side", "changing effect"],
)
def test_nothing_ships_without_the_always_valid_claim(claim: Claim | None) -> None:
    assert advice(GOOD, claim, enough=True) is Advice.CONTINUE


def test_nothing_stops_or_ships_before_the_minimum_evidence() -> None:
    """Futility needs no data in the seed; here it needs them."""
    hopeless = replace(GOOD, p_positive=.01, p_better=.001, p_harmful=.99)
    assert advice(hopeless) is Advice.STOP
    assert advice(hopeless, replace(PROVEN, enough=False)) is Advice.CONTINUE
    assert advice(hopeless, None) is Advice.CONTINUE
    assert advice(hopeless, None, enough=True) is Advice.STOP


def test_crooks_table_ships_from_cells_to_contract() -> None:
    cells, of = cells_of(CROOK), metric()
    claim = look(cells, of, "a", "b", plan=plan_test(cells, of, "a", "b"))
    found = recommend("b", assess(posterior_of(cells, of), "increase"), claim, "increase", p_best=1.0)
    assert found.advice is Advice.SHIP
    assert found.sentence == "Ship b: it is better than control with probability above .999."


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("binary", [[binary(1000, 0), binary(1000, 60)]]),
        ("binary", [[binary(500, 0), binary(500, 25)], [binary(900, 0), binary(100, 30)]]),
        ("count", [[binary(1000, 0), binary(1000, 60)]]),
        ("revenue", [[binary(1000, 0), binary(1000, 60)]]),
    ],
)
def test_a_control_without_any_success_can_be_beaten(kind: str, rows: list[list[Sums]]) -> None:
    """Margin and tolerance are shares of control's mean as fitted. Teeth: of its plain mean, 0, they are 0."""
    cells, of = cells_of(rows), metric(kind)
    claim = look(cells, of, "a", "b", plan=plan_test(cells, of, "a", "b"))
    posterior = posterior_of(cells, of)
    found = assess(posterior, "increase")
    assert typical_mean(cells, "a") == 0
    assert 0 < posterior.base < cells.totals[1] / cells.trials[1]
    assert recommend("b", found, claim, "increase").advice is Advice.SHIP
    plain = assess(replace(posterior, base=0.0, unit=0.0), "increase")
    assert recommend("b", plain, claim, "increase").advice is not Advice.SHIP
    back = assess(EffectPosterior.of(belief_of(cells, of), cells, of, "b", "a"), "increase")
    assert recommend("a", back, claim, "increase").advice is Advice.STOP, "and its twin, a fall to nothing, is harm"


@pytest.mark.parametrize("kind", ["binary", "count"])
def test_with_many_successes_the_fitted_mean_is_the_plain_one(kind: str) -> None:
    cells = cells_of([[binary(90_000, 9_000), binary(10_000, 1_100)], [binary(20_000, 1_000), binary(80_000, 4_400)]])
    assert posterior_of(cells, metric(kind)).base == pytest.approx(typical_mean(cells, "a"), rel=.01)


@given(two_variant_rows(max_epochs=4))
def test_fitted_means_of_all_variants_give_back_the_totals_of_every_epoch(rows: list[list[Sums]]) -> None:
    """What makes a level the fitted one: Σ_k n_ek p̂_ek = Y_e; so each lies between its epochs' least and greatest."""
    cells = cells_of(rows)
    theta = estimate(cells, MetricKind.BINARY).theta
    for row in range(len(rows)):
        one = cells_of(rows[row : row + 1])
        fitted = [fitted_mean(one, MetricKind.BINARY, theta, variant) for variant in "ab"]
        assert float(np.dot(one.counts[0], fitted)) == pytest.approx(sum(one.totals), abs=1e-6)
    assert 0 <= fitted_mean(cells, MetricKind.BINARY, theta, "a") <= 1


def test_the_value_of_one_more_round_is_the_seeds() -> None:
    """s(φ(z) − zΦ(−z)), s = sd/√2, z = |mean|/s: at mean 0 it is s/√(2π); far from 0 nothing is to be learnt.

    At mean 1, sd 1: z = √2, φ = .146763, Φ(−z) = .078650, so .707107·(.146763 − .111228) = .025127.
    """
    assert value_of_one_more_round(0, 1) == pytest.approx(1 / math.sqrt(2) / math.sqrt(2 * math.pi))
    assert value_of_one_more_round(-1, 1) == value_of_one_more_round(1, 1) == pytest.approx(.025127, abs=1e-6)
    assert value_of_one_more_round(50, 1) == 0
    assert value_of_one_more_round(1, 0) == 0


def test_controls_typical_mean_weighs_epochs_by_all_traffic() -> None:
    """Control left the second, better epoch: its own pooled mean would say it converts as in the first."""
    cells = cells_of([[binary(900, 90), binary(100, 10)], [binary(10, 5), binary(990, 500)]])
    assert typical_mean(cells, "a") == pytest.approx(.3)
