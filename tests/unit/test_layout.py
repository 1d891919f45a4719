"""Layouts: parts add up, a move touches exactly the total variation, slices stay few."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InvalidInput
from trimtab.layout import initial_ranges, largest_remainder, nearest_within, relayout
from trimtab.schema.allocation import Slice
from trimtab.schema.base import PARTS

IDS = [f"v{number}" for number in range(8)]


@st.composite
def shares(draw: st.DrawFn) -> dict[str, float]:
    """Shares of some of eight variants, zero among them, adding up to 1."""
    raw = draw(st.dictionaries(st.sampled_from(IDS), st.floats(0, 1), min_size=1))
    total = sum(raw.values())
    return {variant: value / total for variant, value in raw.items()} if total > 1e-9 else {next(iter(raw)): 1.0}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Slice, ...]:
    """Any layout: the million cut at random places, each slice owned by anybody."""
    cuts = sorted(draw(st.sets(st.integers(1, PARTS - 1), max_size=20)) | {0, PARTS})
    return tuple((draw(st.sampled_from(IDS)), start, end) for start, end in pairwise(cuts))


def owned(ranges: tuple[Slice, ...]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for variant, start, end in ranges:
        parts[variant] = parts.get(variant, 0) + end - start
    return parts


def total_variation(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return sum(max(0, after.get(v, 0) - before.get(v, 0)) for v in {*before, *after})


def moves(before: tuple[Slice, ...], after: tuple[Slice, ...]) -> dict[tuple[str, str], int]:
    """How many buckets went from whom to whom."""
    moved: dict[tuple[str, str], int] = {}
    i = j = 0
    while i < len(before) and j < len(after):
        (giver, start, end), (taker, begin, stop) = before[i], after[j]
        if giver != taker:
            moved[giver, taker] = moved.get((giver, taker), 0) + min(end, stop) - max(start, begin)
        i, j = i + (end <= stop), j + (stop <= end)
    return moved


@given(shares())
def test_parts_add_up_and_stay_within_one_part_of_their_share(given_shares: dict[str, float]) -> None:
    parts = largest_remainder(given_shares)
    assert sum(parts.values()) == PARTS
    assert list(parts) == list(given_shares)
    for variant, share in given_shares.items():
        assert abs(parts[variant] - share * PARTS) < 1 + 1e-6
        assert parts[variant] == 0 or share > 0


@given(shares(), st.randoms())
def test_parts_do_not_depend_on_the_order_of_the_shares(given_shares: dict[str, float], rng: random.Random) -> None:
    items = list(given_shares.items())
    rng.shuffle(items)
    assert largest_remainder(dict(items)) == largest_remainder(given_shares)


def test_ties_go_to_the_lower_id() -> None:
    assert largest_remainder({"c": 1 / 3, "b": 1 / 3, "a": 1 / 3}) == {"a": 333_334, "b": 333_333, "c": 333_333}


@pytest.mark.parametrize("bad", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}, {"a": float("inf")}])
def test_shares_that_cannot_be_parts_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="share"):
        largest_remainder(bad)


@given(shares())
def test_initial_ranges_give_every_variant_one_slice_in_order(given_shares: dict[str, float]) -> None:
    parts = largest_remainder(given_shares)
    ranges = initial_ranges(parts)
    assert [variant for variant, _, _ in ranges] == [variant for variant, size in parts.items() if size]
    assert owned(ranges) == {variant: size for variant, size in parts.items() if size}
    assert relayout(ranges, parts) == ranges


@given(layouts(), shares())
def test_a_relayout_moves_exactly_the_total_variation(before: tuple[Slice, ...], target: dict[str, float]) -> None:
    """From any layout to any parts: sum of moves = TV, and nobody both gives and takes."""
    parts = largest_remainder(target)
    after = relayout(before, parts)
    moved = moves(before, after)
    assert owned(after) == {variant: size for variant, size in parts.items() if size}
    assert sum(moved.values()) == total_variation(owned(before), parts)
    assert not {giver for giver, _ in moved} & {taker for _, taker in moved}
    assert relayout(before, parts) == after
    assert relayout(after, parts) == after


@given(layouts(), shares())
def test_a_relayout_covers_the_million_and_leaves_no_two_neighbours_of_one_owner(
    before: tuple[Slice, ...], target: dict[str, float]
) -> None:
    after = relayout(before, largest_remainder(target))
    assert (after[0][1], after[-1][2]) == (0, PARTS)
    for (owner, _, end), (neighbour, start, _) in pairwise(after):
        assert end == start
        assert owner != neighbour


def weights_at_random(rng: random.Random, variants: int, floor: float) -> dict[str, float]:
    draws = [rng.expovariate(1) for _ in range(variants)]
    return {f"v{place}": floor + (1 - floor * variants) * draw / sum(draws) for place, draw in enumerate(draws)}


@pytest.mark.parametrize("step", [1.0, 0.1], ids=["leaps", "steps"])
@pytest.mark.parametrize("variants", [2, 3, 5, 10])
def test_slices_stay_few_over_500_updates(variants: int, step: float) -> None:
    """Movement = total variation at each of 500 updates, floor .02; at most 46 slices, where 100 are allowed."""
    rng = random.Random(variants)
    weights = weights_at_random(rng, variants, 0.02)
    ranges = initial_ranges(largest_remainder(weights))
    for _ in range(500):
        aim = weights_at_random(rng, variants, 0.02)
        weights = {v: weights[v] + step * (aim[v] - weights[v]) for v in weights}
        parts = largest_remainder(weights)
        after = relayout(ranges, parts)
        assert sum(moves(ranges, after).values()) == total_variation(owned(ranges), parts)
        assert len(after) <= 46
        ranges = after


def test_variants_may_disappear_and_appear() -> None:
    ranges = initial_ranges({"a": 500_000, "b": 300_000, "c": 200_000})
    ranges = relayout(ranges, {"a": 600_000, "b": 400_000})
    assert owned(ranges) == {"a": 600_000, "b": 400_000}
    assert owned(relayout(ranges, {"a": 600_000, "b": 300_000, "d": 100_000}))["d"] == 100_000
    assert relayout(ranges, {"z": PARTS}) == (("z", 0, PARTS),)


def test_neighbours_only_move_their_boundary() -> None:
    ranges = initial_ranges({"a": 500_000, "b": 500_000})
    assert relayout(ranges, {"a": 450_000, "b": 550_000}) == (("a", 0, 450_000), ("b", 450_000, PARTS))


@pytest.mark.parametrize(
    "ranges",
    [(), (("a", 0, 10),), (("a", 0, 10), ("b", 11, PARTS)), (("a", 0, 0), ("b", 0, PARTS)), (("a", 1, PARTS),)],
)
def test_ranges_that_do_not_cover_the_million_are_refused(ranges: tuple[Slice, ...]) -> None:
    with pytest.raises(InvalidInput, match="range"):
        relayout(ranges, {"a": PARTS})


@pytest.mark.parametrize("parts", [{}, {"a": PARTS - 1}, {"a": PARTS + 1, "b": -1}])
def test_parts_that_do_not_add_up_are_refused(parts: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="parts"):
        initial_ranges(parts)


@given(shares(), st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 1)), min_size=8, max_size=8))
def test_the_nearest_shares_keep_all_limits_wherever_any_can(
    wanted: dict[str, float], limits: list[tuple[float, float]]
) -> None:
    """Sum 1, floors and ceilings together; and who is free to move moves by the same amount as every other."""
    low = {v: a / len(wanted) for v, (a, _) in zip(wanted, limits, strict=False)}
    high = {v: max(low[v], b) for v, (_, b) in zip(wanted, limits, strict=False)}
    found = nearest_within(wanted, low, high)
    assert sum(found.values()) == pytest.approx(1)
    if sum(high.values()) < 1:
        return
    assert all(low[v] - 1e-9 <= share <= high[v] + 1e-9 for v, share in found.items())
    shifts = [wanted[v] - share for v, share in found.items() if low[v] + 1e-6 < share < high[v] - 1e-6]
    assert max(shifts, default=0) - min(shifts, default=0) < 1e-6
