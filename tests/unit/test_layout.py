"""Layouts: parts add up, a move touches exactly the total variation, slices stay few."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layouts import layouts, owned, shares, total_variation, weights_at_random
from trimtab.errors import InvalidInput
from trimtab.layout import initial_ranges, largest_remainder, moved, nearest_within, relayout, rescale
from trimtab.schema.allocation import Slice
from trimtab.schema.base import PARTS


def moves(before: tuple[Slice, ...], after: tuple[Slice, ...]) -> dict[tuple[str, str], int]:
    """How many buckets went from whom to whom."""
    pairs: dict[tuple[str, str], int] = {}
    cuts = sorted({start for _, start, _ in (*before, *after)} | {PARTS})
    for start, end in pairwise(cuts):
        giver, taker = (next(v for v, low, high in ranges if low <= start < high) for ranges in (before, after))
        if giver != taker:
            pairs[giver, taker] = pairs.get((giver, taker), 0) + end - start
    return pairs


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


@given(shares(), st.sampled_from([100, 10_000, 100_000, PARTS, 9_999]))
def test_rescaled_parts_add_up_and_stay_within_one_part(given_shares: dict[str, float], total: int) -> None:
    parts = largest_remainder(given_shares)
    scaled = rescale(parts, total)
    assert sum(scaled.values()) == total
    assert all(abs(scaled[v] * PARTS - parts[v] * total) < PARTS for v in parts)
    assert all(parts[v] or not scaled[v] for v in parts)
    assert rescale(parts, PARTS) == parts


def test_rescaling_gives_ties_to_the_lower_id() -> None:
    assert rescale({"c": 335_000, "b": 335_000, "a": 330_000}, 100) == {"c": 33, "b": 34, "a": 33}


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
    pairs = moves(before, after)
    assert owned(after) == {variant: size for variant, size in parts.items() if size}
    assert sum(pairs.values()) == moved(before, after) == total_variation(owned(before), parts)
    assert not {giver for giver, _ in pairs} & {taker for _, taker in pairs}
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


@pytest.mark.parametrize("step", [1.0, 0.1], ids=["leaps", "steps"])
@pytest.mark.parametrize("variants", [2, 3, 5, 10])
def test_slices_stay_few_over_500_updates(variants: int, step: float) -> None:
    """Movement = total variation at each of 500 updates, floor .02; at most 46 slices, where 100 are allowed."""
    rng, names = random.Random(variants), [f"v{place}" for place in range(variants)]
    weights = weights_at_random(rng, names, 0.02)
    ranges = initial_ranges(largest_remainder(weights))
    for _ in range(500):
        aim = weights_at_random(rng, names, 0.02)
        weights = {v: weights[v] + step * (aim[v] - weights[v]) for v in weights}
        ranges = moved_minimally(ranges, largest_remainder(weights))
        assert len(ranges) <= 46


def test_cutting_wherever_parts_are_lost_would_break_the_bar_on_slices() -> None:
    """The teeth: movement is as small, but each slice that loses is cut at its end, and slices are soon over 100."""
    rng, names = random.Random(10), [f"v{place}" for place in range(10)]
    ranges = initial_ranges(largest_remainder(weights_at_random(rng, names, 0.02)))
    for _ in range(100):
        parts = largest_remainder(weights_at_random(rng, names, 0.02))
        after = cut_at_ends(ranges, parts)
        assert sum(moves(ranges, after).values()) == total_variation(owned(ranges), parts)
        ranges = after
    assert len(ranges) > 100


def cut_at_ends(before: tuple[Slice, ...], parts: Mapping[str, int]) -> tuple[Slice, ...]:
    """As minimal in movement as `relayout`, without a thought for neighbours."""
    owed = {v: parts[v] - size for v, size in owned(before).items()}
    sizes: list[tuple[str, int]] = []
    for owner, start, end in before:
        given = min(end - start, max(0, -owed[owner]))
        owed[owner] += given
        sizes.append((owner, end - start - given))
        while given:
            taker = max(owed, key=lambda v: owed[v])
            size = min(given, owed[taker])
            owed[taker] -= size
            given -= size
            sizes.append((taker, size))
    ends = list(accumulate(size for _, size in sizes))
    return tuple((v, end - size, end) for (v, size), end in zip(sizes, ends, strict=True) if size)


@pytest.mark.parametrize("variants", [2, 3, 5, 10])
def test_slices_stay_few_while_variants_come_and_go(variants: int) -> None:
    """A variant joins or leaves at every twentieth of 500 small steps, up to two more than at first: at most 60."""
    rng, names, joined = random.Random(variants), [f"v{place}" for place in range(variants)], variants
    weights = weights_at_random(rng, names, 0.02)
    ranges = initial_ranges(largest_remainder(weights))
    for update in range(500):
        if update % 20 == 10 and len(names) > 2 and rng.random() < 0.5:
            names.remove(rng.choice(names))
        elif update % 20 == 10 and len(names) < variants + 2:
            joined += 1
            names.append(f"v{joined}")
        aim = weights_at_random(rng, names, 0.02)
        wanted = {v: 0.9 * weights.get(v, 0.0) + 0.1 * aim[v] for v in names}
        weights = {v: weight / sum(wanted.values()) for v, weight in wanted.items()}
        ranges = moved_minimally(ranges, largest_remainder(weights))
        assert len(ranges) <= 60


def moved_minimally(before: tuple[Slice, ...], parts: Mapping[str, int]) -> tuple[Slice, ...]:
    """The next layout, which has moved the total variation and no bucket more."""
    after = relayout(before, parts)
    assert sum(moves(before, after).values()) == total_variation(owned(before), parts)
    return after


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
