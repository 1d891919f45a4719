"""Input that cannot be used is refused with the variant, the field and the value at fault, always as a ValueError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trimtab.engine import (
    Belief,
    Cells,
    Engine,
    Observation,
    decide,
    probability_best_beta,
    probability_best_mvn,
    probability_best_normal,
)
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import HoldCode
from unit.engine.given import binary, cells_of, even, inputs_of

NAN, INF = float("nan"), float("inf")
SEEN = {"A": Observation(1000, 50), "B": Observation(1000, 60)}
WEIGHTS = {"A": .5, "B": .5}


def compute(**changes: Any) -> Any:
    return Engine("thompson").compute(**{"observations": SEEN, "previous_weights": WEIGHTS, **changes})


def with_a(trials: Any, successes: Any) -> dict[str, Any]:
    return {"observations": {**SEEN, "A": Observation(trials, successes)}}


@pytest.mark.parametrize(
    ("changes", "field", "variant"),
    [
        ({"observations": {}}, "observations", None),
        ({"observations": None}, "observations", None),
        ({"observations": [("A", 1)]}, "observations", None),
        ({"observations": {**SEEN, "A": (1000, 50)}}, "trials", "A"),
        (with_a(-1, 0), "trials", "A"),
        (with_a(10, -1), "successes", "A"),
        (with_a(10, 11), "successes", "A"),
        (with_a(NAN, 0), "trials", "A"),
        (with_a(10, NAN), "successes", "A"),
        (with_a(INF, 0), "trials", "A"),
        (with_a(10.5, 1), "trials", "A"),
        (with_a("10", 1), "trials", "A"),
        (with_a(True, 1), "trials", "A"),
        (with_a(2**53 + 1, 1), "trials", "A"),
        (with_a(10**400, 1), "trials", "A"),
        ({"previous_weights": {}}, "previous_weights", None),
        ({"previous_weights": [.5, .5]}, "previous_weights", None),
        ({"previous_weights": {"A": .5, "C": .5}}, "previous_weights", None),
        ({"previous_weights": {"A": .5, "B": .4}}, "previous_weights", None),
        ({"previous_weights": {"A": 1.5, "B": -.5}}, "previous_weights", "A"),
        ({"previous_weights": {"A": .5, "B": NAN}}, "previous_weights", "B"),
        ({"previous_weights": {"A": .5, "B": INF}}, "previous_weights", "B"),
        ({"constraints": {"min_weight": .1}}, "constraints", None),
        ({"constraints": Constraints(min_weight=.6)}, "min_weight", "A"),
        ({"constraints": Constraints(floors={"B": .7}, min_weight=.4)}, "min_weight", "B"),
        ({"constraints": Constraints(pins={"A": .3, "B": .8})}, "min_weight", "B"),
        ({"constraints": Constraints(ceilings={"A": .5, "B": .4})}, "ceilings", "B"),
        ({"constraints": Constraints(floors={"Z": .1})}, "floors", "Z"),
        ({"last_updated_at_epoch_s": "now", "now_epoch_s": 1.0}, "last_updated_at_epoch_s", None),
    ],
)
def test_the_engine_names_variant_field_and_value(changes: dict[str, Any], field: str, variant: str | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        compute(**changes)
    assert isinstance(caught.value, ValueError)
    assert (caught.value.field, caught.value.variant) == (field, variant)
    assert field in str(caught.value)
    if variant:
        assert variant in str(caught.value)
        assert repr(caught.value.value) in str(caught.value)


@pytest.mark.parametrize("field", ["min_weight", "max_step", "epsilon", "cooldown_seconds", "min_trials"])
@pytest.mark.parametrize("value", [NAN, INF, -1])
def test_limits_out_of_their_range_are_refused_when_they_are_built(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Constraints(**{field: value})


@pytest.mark.parametrize("name", [None, ["thompson"], "greedy"])
def test_what_is_no_strategy_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match="strategy"):
        Engine(name)


ONES = [1.0, 1.0]


@pytest.mark.parametrize(
    ("function", "fields"),
    [(probability_best_normal, ("mean", "sd")), (probability_best_beta, ("alpha", "beta"))],
)
def test_p_best_of_independent_variants_names_place_field_and_value(
    function: Callable[[Any, Any], Any], fields: tuple[str, str]
) -> None:
    first, second = fields
    for bad in (NAN, INF):
        with pytest.raises(InvalidInput, match=rf"{first}\[1\] is {bad}") as caught:
            function([1.0, bad], ONES)
        assert (caught.value.field, caught.value.variant) == (first, "1")
    with pytest.raises(InvalidInput, match=rf"{second}\[2, 1\] is -1\.0; of variant 1"):
        function(np.ones((3, 2)), [ONES, ONES, [1.0, -1.0]])
    with pytest.raises(InvalidInput, match=rf"{first} \(3,\) and {second} \(2,\)"):
        function([1.0, 1.0, 1.0], ONES)
    for bad in (["a", 1.0], [[1.0, 1.0], [1.0]], {"a": 1}):
        with pytest.raises(InvalidInput, match=f"{first} is .* not an array of numbers"):
            function(bad, ONES)
    for nobody in ([], 1.0, np.ones((3, 0))):
        with pytest.raises(InvalidInput, match="at least one variant"):
            function(nobody, nobody)


@pytest.mark.parametrize(
    ("mean", "cov", "precision", "field"),
    [
        ([0, NAN, 0], np.eye(3), [2, 2, 2], "mean"),
        ([0, 0, 0], np.diag([1, INF, 1]), [2, 2, 2], "cov"),
        ([0, 0, 0], np.eye(3), [2, 0, 2], "prec_diag"),
        ([0, 0, 0], np.eye(3), [2, NAN, 2], "prec_diag"),
        ([0, 0, 0], [[1, .5, 0], [0, 1, 0], [0, 0, 1]], [2, 2, 2], "cov"),
        ([0, 0, 0], np.diag([1, .01, 1]), [2, 2, 2], "cov"),
    ],
    ids=["nan", "infinite", "no precision", "precision nan", "asymmetric", "less than its own variance"],
)
def test_p_best_of_correlated_variants_names_place_field_and_value(
    mean: Any, cov: Any, precision: Any, field: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"^{field}\[.*1\] is|^{field}\[0\] is") as caught:
        probability_best_mvn(mean, cov, precision)
    assert caught.value.field == field


def test_p_best_of_correlated_variants_refuses_shapes_that_do_not_fit() -> None:
    for cov, precision in ((np.eye(2), [1, 1, 1]), (np.eye(3), [1, 1]), ("abc", [1, 1, 1])):
        with pytest.raises(InvalidInput):
            probability_best_mvn([0, 0, 0], cov, precision)


@pytest.mark.parametrize("sums", [(10, 1), (10, NAN, 1), (10, 1.5, 3), ("10", 1, 1), (-1, 0, 0), (0, 1, 1), (2, 4, 5)])
def test_sums_that_are_none_are_refused_with_variant_and_epoch(sums: Any) -> None:
    with pytest.raises(InvalidInput, match=r"variant 'a' in epoch 3") as caught:
        Cells.gather("ab", {(3, "a"): sums})
    assert caught.value.variant == "a"


@pytest.mark.parametrize("diagonal", [-50.0, -4.0])
def test_an_estimate_that_no_posterior_fits_holds_the_weights_and_raises_nothing(diagonal: float) -> None:
    """A worker must survive what a damaged ledger entry says: L + I/τ² that is not positive, or has no inverse."""
    inputs = inputs_of(cells_of([[binary(900, 90), binary(100, 12), binary(500, 80)]]))
    nothing = {"theta": (0.0, 0.0, 0.0), "precision": (0.0, 0.0, 0.0)}
    matrix = tuple(tuple(diagonal if j == k else 0.0 for k in range(3)) for j in range(3))
    broken = inputs.model_copy(update={"information": matrix, **nothing})
    result = decide(broken)
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert result.parts == even("abc")


def test_any_amount_of_evidence_is_far_from_being_refused() -> None:
    """Rounding of 10¹² units in two epochs that hardly meet is not taken for a covariance that cannot be."""
    first = [binary(10**12, 10**11), binary(10**12, 10**11), binary(3, 1)]
    inputs = inputs_of(cells_of([first, [binary(5, 1), binary(9, 2), binary(10**9, 10**8)]]))
    belief = Belief.of(inputs.theta, inputs.information, inputs.precision, inputs.prior_sd)
    assert belief.p_best.sum() == pytest.approx(1)


def test_floors_that_do_not_fit_are_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        compute(constraints=Constraints(min_weight=.6))
