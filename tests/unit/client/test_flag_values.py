"""From variants to typed values, from tracked actions to outcomes."""

from __future__ import annotations

from typing import Any

import pytest

from client_allocations import allocation
from trimtab.client._assignments import Assignment, Reason
from trimtab.client._flag_values import NoValue, Served, metrics_of, served_from, value_of


def served(variant: str) -> Assignment:
    return Assignment(variant, 3, 0.5, Reason.SPLIT, 7)


def value(kind: type, variant: str, *variants: str, values: dict[str, Any] | None = None) -> Any:
    shares = dict.fromkeys(variants, 1 / len(variants)) if variants else {variant: 1.0}
    return value_of(kind, allocation(shares=shares), served(variant), values)


def test_without_values_a_text_is_the_variant_and_an_object_the_assignment() -> None:
    assert value(str, "b", "a", "b") == "b"
    assert value(dict, "b", "a", "b") == {
        "variant": "b", "epoch": 3, "propensity": 0.5, "reason": "SPLIT", "revision": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variants", "variant", "expected"),
    [
        (("a", "b"), "a", False),
        (("a", "b"), "b", True),
        (("on", "off"), "on", True),
        (("True", "False"), "False", False),
    ],
)
def test_a_boolean_is_what_the_ids_say_or_whether_it_is_the_treatment(
    variants: tuple[str, ...], variant: str, expected: bool
) -> None:
    assert value(bool, variant, *variants) is expected


@pytest.mark.parametrize("kind", [bool, int, float])
def test_of_three_variants_nothing_is_a_boolean_and_never_a_number(kind: type) -> None:
    with pytest.raises(NoValue, match="give the provider values for 'checkout'"):
        value(kind, "b", "a", "b", "c")


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [(bool, True, True), (int, 3, 3), (float, 3, 3.0), (float, 0.5, 0.5), (str, "x", "x"), (dict, {"k": 1}, {"k": 1}),
     (dict, (1, 2), [1, 2])],
)  # fmt: skip
def test_a_value_given_for_the_variant_is_the_value(kind: type, given: Any, expected: Any) -> None:
    found = value(kind, "b", values={"b": given})
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(("kind", "given"), [(bool, 1), (int, True), (int, 1.5), (float, True), (str, 1), (dict, "x")])
def test_a_value_of_another_type_is_none(kind: type, given: Any) -> None:
    with pytest.raises(NoValue, match="is of type"):
        value(kind, "b", values={"b": given})


def test_a_variant_without_a_value_has_none() -> None:
    with pytest.raises(NoValue, match="nothing for variant 'b'"):
        value(bool, "b", values={"a": True})


def test_what_was_served_is_believed_only_as_a_whole() -> None:
    whole = {"variant": "b", "epoch": 3, "propensity": 0.5, "other": 1}
    assert served_from(whole) == Served("b", 3, 0.5)
    for name in ("variant", "epoch", "propensity"):
        assert served_from({key: value for key, value in whole.items() if key != name}) is None


def test_a_tracked_action_measures_its_value_or_all_that_is_given() -> None:
    assert metrics_of("converted", None, {}) == {"converted": 1.0}
    assert metrics_of("amount", 42.5, {"currency": "EUR"}) == {"amount": 42.5}
    assert metrics_of("ignored", 1, {"metrics": {"converted": 0, "amount": 0}}) == {"converted": 0.0, "amount": 0.0}
