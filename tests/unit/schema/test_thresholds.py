"""Decision thresholds: presets, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trimtab.errors import ConfigurationError
from trimtab.schema.thresholds import DecisionThresholds


def test_the_seeds_own_are_a_preset() -> None:
    """pytyche's defaults: margin .02 and tolerance .01 in the metric's unit; .95, .80, .05 and .90."""
    seed = DecisionThresholds.parse("absolute")
    assert seed == DecisionThresholds.absolute()
    assert (seed.margin(1000), seed.tolerance(1000)) == (.02, .01)
    assert (seed.p_positive, seed.p_better, seed.futility, seed.harm) == (.95, .80, .05, .90)
    assert DecisionThresholds.parse({"preset": "absolute", "harm": .8}).harm == .8
    assert DecisionThresholds.parse("default") == DecisionThresholds()


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_default_margins_and_tolerances_follow_the_size_of_the_metric(unit: float, factor: float) -> None:
    bounds = DecisionThresholds()
    assert bounds.margin(unit * factor) == pytest.approx(bounds.margin(unit) * factor)
    assert bounds.tolerance(unit * factor) == pytest.approx(bounds.tolerance(unit) * factor)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min_practical_effect": -.1}, "thresholds: min_practical_effect: Input should be greater than or equal to 0"),
        ({"min_relative_effect": math.inf}, "min_relative_effect: Input should be a finite number"),
        ({"expected_loss_tolerance": 0}, "expected_loss_tolerance: Input should be greater than 0"),
        ({"p_positive": 1.0}, "p_positive: Input should be less than 1"),
        ({"harm": math.nan}, "harm: Input should be a finite number"),
        ({"futility": .9}, "futility is 0.9, not below p_better 0.8"),
        ({"preset": "bold"}, "unknown preset 'bold'; choose one of absolute, default"),
        ({"p_best": .9}, "p_best: Extra inputs are not permitted"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        DecisionThresholds.parse(given)
    assert words in str(refused.value)


def test_they_cannot_be_built_wrong_either() -> None:
    with pytest.raises(ValidationError):
        DecisionThresholds(p_positive=1.0)
    assert issubclass(ValidationError, ValueError)
