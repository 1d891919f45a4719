"""A/B tests by name: a ratio and a sample size, both refused with one clear sentence where they make no sense."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.client._changes import first_parts
from trimtab.errors import ConfigurationError
from trimtab.schema.experiment import Experiment

AB: dict[str, Any] = {
    "id": "checkout",
    "variants": [{"id": "a"}, {"id": "b"}],
    "metrics": [{"name": "done", "kind": "binary"}],
    "strategy": "fixed",
}


def test_a_ratio_is_what_the_start_publishes_to_the_part() -> None:
    experiment = Experiment.parse(AB | {"assignment_ratio": {"a": .7, "b": .3}})
    assert first_parts(experiment) == {"a": 700_000, "b": 300_000}
    assert first_parts(Experiment.parse(AB)) == {"a": 500_000, "b": 500_000}


@given(st.integers(1, 999_999))
def test_a_ratio_needs_no_leave_from_a_default_floor(part: int) -> None:
    """The default of min_weight is .05; who asks for one in a thousand means it."""
    ratio = {"a": part / 1e6, "b": 1 - part / 1e6}
    assert first_parts(Experiment.parse(AB | {"assignment_ratio": ratio})) == {"a": part, "b": 1_000_000 - part}


def test_a_floor_that_was_asked_for_binds_a_ratio() -> None:
    with pytest.raises(ConfigurationError, match=r"'b' begins at 0.01, outside its limits of 0.05 to 1"):
        Experiment.parse(AB | {"assignment_ratio": {"a": .99, "b": .01}, "constraints": {"min_weight": .05}})


def test_the_sample_size_of_an_ab_test_is_its_own_or_the_least_trials() -> None:
    assert Experiment.parse(AB | {"min_sample_size": 100}).least_units == 100
    assert Experiment.parse(AB | {"constraints": {"min_trials": 700}}).least_units == 700


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"assignment_ratio": {"a": .5, "b": .5}, "strategy": "thompson"}, "assignment_ratio belongs to A/B tests"),
        ({"min_sample_size": 100, "strategy": "top_two"}, "choose strategy 'fixed', or leave min_sample_size out"),
        ({"assignment_ratio": {"a": .5, "b": .4}}, "the shares add up to 0.9, not to 1"),
        ({"assignment_ratio": {"a": .5}}, "gives no share to 'b'"),
        ({"assignment_ratio": {"a": .5, "c": .5}}, "names 'c', which is not one of a, b"),
        ({"assignment_ratio": {"a": .5, "b": math.nan}}, "assignment_ratio.b: Input should be a finite number"),
        ({"assignment_ratio": {"a": 1.5, "b": -.5}}, "assignment_ratio.a: Input should be less than 1"),
        ({"assignment_ratio": {"a": 1, "b": 0}}, "assignment_ratio.a: Input should be less than 1"),
        ({"assignment_ratio": .5}, "assignment_ratio: Input should be a valid dictionary"),
        ({"min_sample_size": 0}, "min_sample_size: Input should be greater than or equal to 1"),
        (
            {
                "assignment_ratio": {"a": .5, "b": .5},
                "variants": [{"id": "a", "initial_weight": .5}, {"id": "b", "initial_weight": .5}],
            },
            "say the same; give one of them",
        ),
    ],
)
def test_nonsense_is_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Experiment.parse(AB | changes)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_definition_survives_its_own_json() -> None:
    experiment = Experiment.parse(
        AB | {"assignment_ratio": {"a": .99, "b": .01}, "min_sample_size": 50, "thresholds": "absolute"}
    )
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
