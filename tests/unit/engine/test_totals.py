"""`Engine.compute` for counts, revenue and continuous metrics: one period's moments, one posterior a kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trimtab.engine import (
    Engine,
    Moments,
    Observation,
    decide,
    probability_best_gamma,
    probability_best_normal,
    probability_best_t,
)
from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput
from trimtab.schema.constraints import Constraints
from unit.engine.given import cells_of, inputs_of, values_cell
from unit.engine.test_probability import stieltjes

FREE = Constraints(min_trials=0, max_step=1.0, min_weight=0.0, cooldown_seconds=0)
KINDS = ("count", "revenue", "continuous")


def proposed(kind: str, seen: dict[str, Moments], **options: Any) -> dict[str, float]:
    result = Engine("thompson", kind=kind, **options).compute(
        observations=seen, previous_weights=dict.fromkeys(seen, 1 / len(seen)), constraints=FREE
    )
    assert result.weights.keys() == seen.keys()
    assert abs(sum(result.weights.values()) - 1) < 1e-9
    return dict(result.explanation.proposed_weights)


def moments(values: Floats) -> Moments:
    return Moments(len(values), float(values.mean()), float(values.var(ddof=1)))


@pytest.mark.parametrize(
    ("shape", "rate"),
    [
        ([1, 1], [1, 2]),
        ([1.5, 400, 30], [1, 350, 28]),
        ([.3, 2], [.1, 3]),
        ([1e6, 1.002e6], [1e3, 1e3]),
        ([2e9, 2e9], [1, 1]),
    ],
)
@pytest.mark.parametrize("lowest", [False, True])
def test_gamma_variants_are_within_a_millionth_of_the_truth(
    shape: list[float], rate: list[float], lowest: bool
) -> None:
    arms = [stats.gamma(a, scale=1 / b) for a, b in zip(shape, rate, strict=True)]
    tails = np.logspace(-12, -4, 400)
    levels = np.unique(np.r_[np.linspace(0, 1, 20_001)[1:-1], tails, 1 - tails])
    grid = np.unique(np.concatenate([arm.ppf(levels) for arm in arms]))
    above = np.array([(arm.sf(grid) if lowest else arm.cdf(grid)) for arm in arms])
    reference = stieltjes(above[:, ::-1] if lowest else above)
    assert np.abs(probability_best_gamma(shape, rate, lowest=lowest) - reference).max() < 2e-6


@pytest.mark.parametrize("freedom", [[4, 4, 4], [4, 300, 1e6], [5, 1e12, 20]])
@pytest.mark.parametrize("spread", [1, 300])
def test_student_variants_are_within_a_millionth_of_the_truth(freedom: list[float], spread: float) -> None:
    rng = np.random.default_rng(3)
    scale = spread ** rng.uniform(-1, 0, 3)
    mean = rng.normal(0, scale.max(), 3)
    arms = [stats.t(f, m, s) for f, m, s in zip(freedom, mean, scale, strict=True)]
    tails = np.logspace(-13, -4, 900)
    levels = np.concatenate([tails, np.linspace(1e-4, 1 - 1e-4, 40_001)])
    grid = np.unique(np.concatenate([np.r_[arm.ppf(levels), arm.isf(tails)] for arm in arms]))
    reference = stieltjes(np.array([arm.cdf(grid) for arm in arms]))
    assert np.abs(probability_best_t(mean, scale, freedom) - reference).max() < 2e-6


def test_student_variants_with_many_degrees_of_freedom_are_normal() -> None:
    rng = np.random.default_rng(5)
    mean, scale = rng.normal(0, 1, (4, 5)), rng.uniform(.1, 1, (4, 5))
    many = probability_best_t(mean, scale, np.full(5, 2e7))
    assert np.abs(many - probability_best_normal(mean, scale)).max() < 1e-6


@given(st.sampled_from(KINDS), st.integers(0, 2**32 - 1), st.sampled_from(["increase", "decrease"]))
def test_cents_and_dollars_give_the_same_weights(kind: str, seed: int, direction: str) -> None:
    """Counts have no unit, and so no cents."""
    rng = np.random.default_rng(seed)
    seen = {f"v{k}": moments(rng.gamma(2, 5, int(rng.integers(2, 400)))) for k in range(int(rng.integers(2, 6)))}
    cents = {variant: Moments(m.trials, m.mean * 100, m.variance * 100**2) for variant, m in seen.items()}
    if kind != "count":
        here, there = proposed(kind, seen, direction=direction), proposed(kind, cents, direction=direction)
        assert max(abs(here[variant] - there[variant]) for variant in seen) < 1e-7
    turned = dict(reversed(proposed(kind, dict(reversed(seen.items())), direction=direction).items()))
    assert turned == proposed(kind, seen, direction=direction)


@pytest.mark.parametrize("kind", KINDS)
def test_lower_is_better_looks_for_the_lowest(kind: str) -> None:
    seen = {"A": Moments(2000, 5.0, 9.0), "B": Moments(2000, 5.6, 9.0), "C": Moments(2000, 5.0, 9.0)}
    up, down = proposed(kind, seen), proposed(kind, seen, direction="decrease")
    assert up["B"] > .999
    assert down["B"] < .001
    assert down["A"] == pytest.approx(down["C"], abs=1e-9)


def test_the_lowest_rate_of_successes_is_the_best_where_fewer_are_better() -> None:
    engine = Engine("thompson", direction="decrease")
    seen = {"A": Observation(1000, 50), "B": Observation(1000, 120)}
    result = engine.compute(observations=seen, previous_weights={"A": .5, "B": .5}, constraints=FREE)
    assert result.weights["A"] > .999


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "seen",
    [
        {"A": Moments(0, 0, 0), "B": Moments(0, 0, 0)},
        {"A": Moments(1, 3, 0), "B": Moments(1, 3, 0)},
        {"A": Moments(500, 0, 0), "B": Moments(500, 0, 0)},
        {"A": Moments(500, 1, 0), "B": Moments(500, 1, 0)},
    ],
    ids=["no trials", "one alike", "all zero", "all one"],
)
def test_data_that_tell_nothing_apart_give_equal_shares(kind: str, seen: dict[str, Moments]) -> None:
    assert proposed(kind, seen) == pytest.approx({"A": .5, "B": .5}, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "seen",
    [
        {"A": Moments(1, 3, 0), "B": Moments(1, 4, 0), "C": Moments(0, 0, 0)},
        {"A": Moments(1000, 1e8, 1), "B": Moments(1000, 1e8 + .2, 1)},
        {"A": Moments(2, 1e-300, 1e-320), "B": Moments(10**9, 1e-300, 1e-320)},
        {"A": Moments(2**53, 1e12, 1e30), "B": Moments(0, 0, 0)},
        {"A": Moments(10, 5, 0), "B": Moments(10, 6, 0)},
    ],
    ids=["one trial", "mean 1e8 sd 1", "tiny", "huge", "no variance"],
)
def test_odd_data_give_finite_and_sane_shares(kind: str, seen: dict[str, Moments]) -> None:
    shares = proposed(kind, seen)
    assert all(0 <= share <= 1 for share in shares.values())


def test_a_mean_of_a_hundred_million_keeps_its_last_digits() -> None:
    near = proposed("continuous", {"A": Moments(1000, .0, 1), "B": Moments(1000, .1, 1)})
    far = proposed("continuous", {"A": Moments(1000, 1e8, 1), "B": Moments(1000, 1e8 + .1, 1)})
    assert far["B"] == pytest.approx(near["B"], abs=1e-6)


def test_clustered_counts_claim_no_more_than_they_know() -> None:
    """Negative binomial A/A with dispersion 5: a sure winner in a tenth of runs; plain Gamma–Poisson in a third.

    Two-sided claims at .95 come true by chance in .10 of runs; 400 runs have a standard error of .015.
    """
    rng = np.random.default_rng(17)
    ours = plain = 0
    for _ in range(400):
        groups = [rng.negative_binomial(.5, .2, 400) for _ in range(2)]
        seen = dict(zip("AB", map(moments, groups), strict=True))
        ours += max(proposed("count", seen).values()) > .95
        sums = [1 + float(g.sum()) for g in groups]
        plain += float(probability_best_gamma(sums, [400.0, 400.0]).max()) > .95
    assert ours / 400 <= .10 + 3 * .015
    assert plain / 400 > .33


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_agrees_with_the_service_on_one_epoch(kind: str) -> None:
    rng = np.random.default_rng(23)
    for _ in range(20):
        size = int(rng.integers(2, 5))
        centre = rng.uniform(3, 3.2, size)
        draws = [
            rng.poisson(c, 3000) if kind == "count" else np.rint(rng.gamma(2, c / 2, 3000) * 100) / 100
            for c in centre
        ]
        scale = 1 if kind == "count" else 100
        cells = cells_of([[values_cell(np.rint(d * scale).astype(int).tolist()) for d in draws]], scale=scale)
        service = decide(inputs_of(cells, kind, scale=scale, constraints=FREE.model_dump())).proposal
        direct = proposed(kind, {v: moments(d) for v, d in zip(cells.variants, draws, strict=True)})
        assert max(abs(direct[v] - service[v]) for v in service) < .02


@pytest.mark.parametrize(
    ("kind", "seen", "field"),
    [
        ("count", Moments(10, -1.0, 1.0), "mean"),
        ("revenue", Moments(10, float("nan"), 1.0), "mean"),
        ("continuous", Moments(10, float("inf"), 1.0), "mean"),
        ("continuous", Moments(10, -3.0, -1.0), "variance"),
        ("continuous", Moments(0, 2.0, 0.0), "mean"),
        ("continuous", Moments(1, 2.0, 1.0), "variance"),
        ("count", Moments(-1, 0.0, 0.0), "trials"),
        ("count", Observation(10, 5), None),
        ("binary", Moments(10, .5, .25), "successes"),
    ],
)
def test_moments_that_no_values_have_are_refused(kind: str, seen: Any, field: str | None) -> None:
    weights = {"A": .5, "B": .5}
    good = Observation(10, 5) if kind == "binary" else Moments(10, 1.0, 1.0)
    arguments: dict[str, Any] = {"observations": {"A": seen, "B": good}, "previous_weights": weights}
    if field is None:
        assert Engine("thompson", kind=kind).compute(**arguments).explanation.observations.total_trials == 20
        return
    with pytest.raises(InvalidInput) as caught:
        Engine("thompson", kind=kind).compute(**arguments)
    assert (caught.value.field, caught.value.variant) == (field, "A")


@pytest.mark.parametrize(
    ("field", "options"), [("kind", {"kind": "ratio"}), ("direction", {"direction": "sideways"})]
)
def test_an_unknown_option_is_refused(field: str, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="choose one of") as caught:
        Engine(**options)
    assert caught.value.field == field
