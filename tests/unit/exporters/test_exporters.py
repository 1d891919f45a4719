"""Exports: shares as near as the target can, movement as small as it can, documents that read back to what they say."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import allocation
from flag_systems import MOVED, SHARES, START, after_start, document_of
from layouts import layouts, owned, shares, total_variation, weights_at_random
from trimtab.errors import InvalidInput
from trimtab.exporters import EXPORTERS, Export, export, exporter, segments_in
from trimtab.layout import largest_remainder, moved, relayout
from trimtab.schema.allocation import Allocation, Slice
from trimtab.schema.base import PARTS

FORMATS = st.sampled_from(sorted(EXPORTERS))
EXACT = {name for name, form in EXPORTERS.items() if form.resolution == PARTS}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def laid_out(ranges: tuple[Slice, ...], *, idle: str = "idle", **fields: Any) -> Allocation:
    """An allocation with these ranges, and one more variant that has no parts."""
    parts = owned(ranges) | {idle: 0}
    return allocation(fields.pop("revision", 1), dict.fromkeys(parts, 0) | _shares(parts), ranges=ranges, **fields)


def _shares(parts: dict[str, int]) -> dict[str, float]:
    return {variant: size / PARTS for variant, size in parts.items()}


def through_json(document: Any) -> Any:
    return json.loads(json.dumps(document))


@given(FORMATS, layouts())
def test_a_document_reads_back_to_the_segments_it_was_made_of(form: str, ranges: tuple[Slice, ...]) -> None:
    made = export(laid_out(ranges), form)
    assert segments_in(through_json(made.document), form) == {"checkout": made.placements[0].segments}


@given(FORMATS, layouts())
def test_shares_are_whole_buckets_that_add_up_within_one_bucket_of_the_weights(
    form: str, ranges: tuple[Slice, ...]
) -> None:
    made = export(laid_out(ranges), form)
    placement, bucket = made.placements[0], 1 / made.resolution
    assert sum(placement.shares.values()) == pytest.approx(1)
    assert made.rounding_error == placement.rounding_error < bucket
    assert placement.shares["idle"] == 0
    assert "idle" not in placement.starved
    for variant in placement.starved:
        assert 0 < placement.allocation.weights[variant] / PARTS < bucket
        assert placement.shares[variant] == 0


@given(FORMATS, layouts(), shares())
def test_an_export_moves_no_bucket_more_than_its_rounded_shares_ask_for(
    form: str, ranges: tuple[Slice, ...], target: dict[str, float]
) -> None:
    """And so, beyond the total variation of the weights, at most one bucket per variant."""
    first = export(laid_out(ranges), form)
    parts = largest_remainder(target)
    second = export(allocation(2, _shares(parts), ranges=relayout(ranges, parts)), form, previous=first)
    was, now = first.placements[0], second.placements[0]
    assert now.movement
    assert now.movement.parts * first.resolution == moved(was.segments, now.segments) * PARTS
    assert moved(was.segments, now.segments) == total_variation(owned(was.segments), owned(now.segments))
    assert now.movement.total_variation == total_variation(was.allocation.weights, parts)
    assert now.movement.parts <= now.movement.fixed_order
    assert abs(now.movement.extra) * first.resolution <= len({*was.variants, *now.variants}) * PARTS
    assert second.extra_movement == now.movement.extra / PARTS


@given(st.sampled_from(sorted(EXACT)), layouts(), shares())
def test_a_target_as_fine_as_our_buckets_costs_nothing(
    form: str, ranges: tuple[Slice, ...], target: dict[str, float]
) -> None:
    first, parts = export(laid_out(ranges), form), largest_remainder(target)
    second = export(allocation(2, _shares(parts), ranges=relayout(ranges, parts)), form, previous=first)
    assert (second.rounding_error, second.extra_movement) == (0, 0)
    assert second.placements[0].segments == second.placements[0].allocation.ranges


@given(FORMATS, layouts(), shares())
def test_a_document_stands_for_the_export_that_it_came_from(
    form: str, ranges: tuple[Slice, ...], target: dict[str, float]
) -> None:
    first, parts = export(laid_out(ranges), form), largest_remainder(target)
    second = allocation(2, _shares(parts), ranges=relayout(ranges, parts))
    by_document = export(second, form, previous=through_json(first.document))
    assert by_document.document == export(second, form, previous=first).document


@pytest.mark.parametrize("form", EXPORTERS)
def test_an_example_by_hand(form: str) -> None:
    """.2/.3/.5 to .1/.3/.6: a tenth moves from A to C, and one range per variant would have moved a fifth."""
    second = export(MOVED, form, previous=export(START, form))
    assert second.placements[0].shares == SHARES
    movement = second.placements[0].movement
    assert movement
    assert (movement.parts, movement.total_variation, movement.fixed_order) == (100_000, 100_000, 200_000)
    # Whole percents: the allocation's own boundaries already are the target's.
    assert document_of(MOVED, form) == after_start(form)


@pytest.mark.parametrize(("form", "bar"), [("growthbook", 0.002), ("flagsmith", 0.002), ("launchdarkly", 0.0002)])
def test_without_the_document_before_little_moves_beyond_the_total_variation(form: str, bar: float) -> None:
    """Ten variants, 300 small steps, dozens of slices: what a gateway costs that renders each allocation by itself."""
    rng, names = random.Random(1), [f"v{place}" for place in range(10)]
    weights = weights_at_random(rng, names, 0.02)
    before = allocation(1, weights)
    for revision in range(2, 302):
        aim = weights_at_random(rng, names, 0.02)
        weights = {v: 0.9 * weights[v] + 0.1 * aim[v] for v in names}
        after = allocation(revision, weights, ranges=relayout(before.ranges, largest_remainder(weights)))
        was, now = (export(each, form).placements[0].segments for each in (before, after))
        share = moved(was, now) / EXPORTERS[form].resolution
        assert share - total_variation(before.weights, after.weights) / PARTS < bar
        before = after


@pytest.mark.parametrize("form", ["configcat", "split"])
def test_whole_percents_need_the_document_before(form: str) -> None:
    """The teeth of `previous`: dozens of slices rounded anew to a hundred buckets move several points at once."""
    rng, names = random.Random(1), [f"v{place}" for place in range(10)]
    weights = weights_at_random(rng, names, 0.02)
    kept: Export = export(allocation(1, weights), form)
    anew, worst_kept, worst_anew = kept, 0.0, 0.0
    for revision in range(2, 102):
        aim = weights_at_random(rng, names, 0.02)
        weights = {v: 0.9 * weights[v] + 0.1 * aim[v] for v in names}
        ranges = relayout(kept.placements[0].allocation.ranges, largest_remainder(weights))
        after = allocation(revision, weights, ranges=ranges)
        kept = export(after, form, previous=kept)
        was, anew = anew, export(after, form)
        true = total_variation(was.placements[0].allocation.weights, after.weights) / PARTS
        share = moved(was.placements[0].segments, anew.placements[0].segments) / anew.resolution
        worst_kept, worst_anew = max(worst_kept, kept.extra_movement), max(worst_anew, share - true)
    assert worst_kept < 0.03 < worst_anew


def test_a_share_below_the_resolution_is_reported_as_starved() -> None:
    made = export(allocation(1, {"a": 0.997, "b": 0.003}), "configcat")
    assert made.placements[0].starved == ("b",)
    assert made.rounding_error == pytest.approx(0.003)
    assert export(allocation(1, {"a": 0.997, "b": 0.003}), "growthbook").placements[0].starved == ()


@pytest.mark.parametrize("form", EXPORTERS)
@pytest.mark.parametrize("status", ["running", "held", "stopped"])
def test_until_the_conclusion_the_weights_are_served_whatever_the_status(form: str, status: str) -> None:
    made = export(allocation(1, {"a": 0.25, "b": 0.75}, status=status), form)
    assert made.placements[0].shares == {"a": 0.25, "b": 0.75}
    assert len(segments_in(made.document, form)["checkout"]) == 2


@pytest.mark.parametrize("form", EXPORTERS)
def test_a_variant_that_joins_or_leaves_moves_its_share_only(form: str) -> None:
    first = export(allocation(1, {"a": 0.5, "b": 0.5}), form)
    parts = {"a": 400_000, "b": 500_000, "c": 100_000}
    joined = allocation(2, _shares(parts), ranges=relayout(first.placements[0].allocation.ranges, parts))
    second = export(joined, form, previous=first)
    assert second.placements[0].movement
    assert second.placements[0].movement.parts == 100_000
    left = allocation(3, {"a": 0.4, "b": 0.6}, ranges=relayout(joined.ranges, {"a": 400_000, "b": 600_000}))
    third = export(left, form, previous=second)
    assert third.placements[0].movement
    assert third.placements[0].movement.parts == 100_000


@pytest.mark.parametrize("form", EXPORTERS)
def test_flags_stand_in_the_order_of_their_ids_whoever_asks(form: str) -> None:
    pair = [allocation(1, experiment_id=name) for name in ("search", "checkout")]
    made = export(pair, form)
    assert made.document == export(pair[::-1], form).document == EXPORTERS[form].render(iter(pair))
    assert [*segments_in(made.document, form)] == ["checkout", "search"]
    assert segments_in(export([], form).document, form) == {}


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="flagd, growthbook"):
        exporter("statsig")


@given(FORMATS, JSON)
def test_any_document_before_is_read_or_refused(form: str, document: Any) -> None:
    with contextlib.suppress(InvalidInput):
        assert export(START, form, previous=document).document


@given(FORMATS, JSON, st.data())
def test_a_damaged_document_before_is_read_or_refused(form: str, junk: Any, data: st.DataObject) -> None:
    """One place anywhere in a good document holds something else."""
    document = through_json(export(MOVED, form).document)
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], dict | list) and place[key]) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = junk
    try:
        made = export(START, form, previous=document)
    except InvalidInput:
        return
    assert made.placements[0].shares == {"A": 0.2, "B": 0.3, "C": 0.5}
