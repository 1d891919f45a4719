"""Bad input is refused with the variant, the field and the value at fault; it is a ValueError."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.engine import Cells
from trimtab.errors import InvalidInput
from trimtab.inference import (
    EffectPosterior,
    Measured,
    SequentialPlan,
    aipw_effect,
    analyze_ab,
    e_bh,
    find_leaks,
    harm_test,
    look,
    plan_test,
    sample_ratio,
    sample_size_for_means,
    sample_size_for_rates,
    stratified_effect,
)
from trimtab.schema.experiment import MetricKind
from unit.inference.given import binary, cells_of, metric

FINE = cells_of([[binary(100, 10), binary(100, 20)]])
TOO_MANY = Cells.gather("ab", {(1, "a"): (2, 4, 8), (1, "b"): (2, 1, 1)})
HALF = np.array([.5])

CASES: dict[str, tuple[Callable[[], Any], str, Any]] = {
    "unknown treatment": (lambda: look(FINE, metric(), "a", "z", plan=None), "treatment", "z"),
    "unknown control": (lambda: plan_test(FINE, metric(), "z", "b"), "control", "z"),
    "control against itself": (lambda: stratified_effect(FINE, metric(), "a", "a"), "treatment", "a"),
    "more successes than trials": (lambda: look(TOO_MANY, metric(), "a", "b", plan=None), "successes", 4),
    "alpha 0": (lambda: plan_test(FINE, metric(), "a", "b", alpha=0), "alpha", 0),
    "alpha NaN": (lambda: plan_test(FINE, metric(), "a", "b", alpha=math.nan), "alpha", math.nan),
    "no comparison": (lambda: plan_test(FINE, metric(), "a", "b", n_comparisons=0), "n_comparisons", 0),
    "a negative plan": (lambda: plan_test(FINE, metric(), "a", "b", planned_units=-5), "planned_units", -5),
    "rho 0": (lambda: SequentialPlan(.05, 0.0), "rho", 0.0),
    "an infinite e-value": (lambda: e_bh({"b": math.inf}), "evalue", math.inf),
    "a level of 95": (lambda: stratified_effect(FINE, metric(), "a", "b", level=95), "level", 95),
    "shares missing": (lambda: aipw_effect(FINE, metric(), "a", "b", {"a": HALF}), "served", None),
    "a share of 2": (lambda: aipw_effect(FINE, metric(), "a", "b", {"a": HALF, "b": HALF * 4}), "served", 2.0),
    "shares of other epochs": (
        lambda: aipw_effect(FINE, metric(), "a", "b", {"a": HALF, "b": np.full(3, .5)}),
        "served",
        3,
    ),
    "a negative count": (lambda: sample_ratio({(1, "a"): -1}, {1: {"a": 1_000_000}}), "trials", -1),
    "half a unit": (lambda: find_leaks({(1, "a"): 1.5}, {1: {"a": 1_000_000}}), "trials", 1.5),  # type: ignore[dict-item]
    "parts that do not add up": (lambda: sample_ratio({(1, "a"): 1}, {1: {"a": 999_999}}), "served", 999_999),
    "an epoch nobody served": (lambda: sample_ratio({(7, "a"): 1}, {}), "served", 7),
    "a negative limit": (
        lambda: harm_test(FINE, metric(), "a", "b", plan=None, relative_limit=-.1),
        "relative_limit",
        -.1,
    ),
    "no metric": (lambda: analyze_ab([], "a"), "measured", ()),
    "one variant": (lambda: analyze_ab([Measured(metric(), cells_of([[binary(9, 1)]]))], "a"), "variants", ("a",)),
    "a control not there": (lambda: analyze_ab([Measured(metric(), FINE)], "z"), "control", "z"),
    "a rate of 2": (lambda: EffectPosterior(MetricKind.BINARY, 0, 1, 2.0, 1), "base", 2.0),
    "a NaN belief": (lambda: EffectPosterior(MetricKind.COUNT, math.nan, 1, 2.0, 1), "mean", math.nan),
    "an effect of 0": (lambda: sample_size_for_means(1, 0), "effect_size", 0),
    "a rate above 1": (lambda: sample_size_for_rates(.9, .2), "base + effect_size", pytest.approx(1.1)),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_by_name(case: str) -> None:
    attempt, field, value = CASES[case]
    with pytest.raises(InvalidInput) as refused:
        attempt()
    assert isinstance(refused.value, ValueError)
    assert refused.value.field == field
    assert refused.value.value == value or (value != value and refused.value.value != refused.value.value)
    assert field in str(refused.value) or "metric" in str(refused.value) or "treatment" in str(refused.value)


def test_the_variant_at_fault_is_named() -> None:
    with pytest.raises(InvalidInput) as refused:
        look(TOO_MANY, metric(), "a", "b", plan=None)
    assert refused.value.variant == "a"
    assert "'a'" in str(refused.value)
