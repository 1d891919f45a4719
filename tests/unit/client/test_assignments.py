"""What a table built from an allocation answers, to one unit and to many."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import allocation
from trimtab.client._assignments import (
    Assignment,
    Reason,
    answer,
    answers_to,
    expiring,
    hash_end,
    missing,
    table_of,
)
from trimtab.client.bucketing import bucket
from trimtab.schema.base import PARTS

ANYTHING = st.one_of(
    st.none(), st.integers(), st.floats(), st.binary(max_size=8), st.text(max_size=8), st.just("\ud800"), st.just([])
)


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1), st.text(min_size=1, max_size=20))
def test_a_unit_gets_the_variant_whose_slice_holds_its_bucket(tickets: dict[str, int], unit_id: str) -> None:
    held = allocation(shares={v: n / sum(tickets.values()) for v, n in tickets.items()}, epoch=4)
    try:
        place = bucket(held.salt, unit_id)
    except UnicodeError:
        assert answer(table_of(held), unit_id, "z", 0.0).reason is Reason.INVALID_UNIT
        return
    (owner,) = [variant for variant, start, end in held.ranges if start <= place < end]
    expected = Assignment(owner, 4, held.weights[owner] / PARTS, Reason.SPLIT, 1)
    assert answer(table_of(held), unit_id, None, 0.0) == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, PARTS))
def test_a_slice_ends_at_the_same_place_in_hashes_as_in_buckets(digest: int, end: int) -> None:
    assert (digest < hash_end(end)) == (digest * PARTS >> 32 < end)


@pytest.mark.parametrize("end", [1, 199_999, 200_000, 333_333, 999_999, PARTS])
def test_the_hashes_at_a_border_fall_on_its_two_sides(end: int) -> None:
    last = hash_end(end) - 1
    assert last * PARTS >> 32 == end - 1
    assert bisect_right((hash_end(end),), last) == 0
    assert (last + 1) * PARTS >> 32 == end


@given(st.lists(ANYTHING, max_size=30), st.sampled_from(["serve", "default"]), st.sampled_from([0.0, 9.0]))
def test_many_units_get_what_each_gets_alone_whatever_they_are(units: list[Any], on_stale: Any, now: float) -> None:
    for table in (missing(Reason.DEFAULT), expiring(table_of(allocation(), on_stale=on_stale), 5.0)):
        assert answers_to(table, iter(units), "z", now) == [answer(table, unit, "z", now) for unit in units]


def test_past_its_end_the_same_variants_are_served_and_called_stale() -> None:
    table = expiring(table_of(allocation()), 5.0)
    units = [f"user-{n}" for n in range(200)]
    fresh, late = (answers_to(table, units, None, now) for now in (4.999, 5.0))
    assert {given.reason for given in fresh} == {Reason.SPLIT}
    assert late == [given._replace(reason=Reason.STALE) for given in fresh]


def test_with_on_stale_default_callers_get_their_default_from_then_on() -> None:
    table = expiring(table_of(allocation(), on_stale="default"), 5.0)
    assert answer(table, "user-1", "z", 4.999).reason is Reason.SPLIT
    assert answer(table, "user-1", "z", 5.0) == Assignment("z", None, None, Reason.STALE, None)
