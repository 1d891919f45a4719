"""The projection violates nothing, adds up exactly, and is the nearest point."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.engine.projection import project
from trimtab.schema.base import PARTS
from unit.engine.given import parts_of, shares_of

Bounded = tuple[list[float], list[int], list[int]]


@st.composite
def boxes(draw: st.DrawFn) -> Bounded:
    """A wish and whole bounds around some point that adds up to a million."""
    size = draw(st.integers(1, 8))
    inside = draw(parts_of(size))
    low = [draw(st.integers(0, part)) for part in inside]
    high = [draw(st.integers(part, PARTS)) for part in inside]
    return [share * PARTS for share in draw(shares_of(size))], low, high


@given(boxes())
def test_projected_parts_stay_in_the_box_and_add_up_exactly(box: Bounded) -> None:
    """lo ≤ parts ≤ hi and Σ parts = 1,000,000, whatever is wanted."""
    wanted, low, high = box
    parts = project(wanted, low, high, PARTS)
    assert sum(parts) == PARTS
    assert all(bottom <= part <= top for bottom, part, top in zip(low, parts, high, strict=True))


@given(boxes())
def test_no_exchange_between_two_variants_comes_nearer_to_the_wish(box: Bounded) -> None:
    """Optimality: whoever could give away a part has no larger excess over its wish than whoever could take it."""
    wanted, low, high = box
    parts = project(wanted, low, high, PARTS)
    excess = [part - want for part, want in zip(parts, wanted, strict=True)]
    giving = [excess[k] for k in range(len(parts)) if parts[k] > low[k]]
    taking = [excess[k] for k in range(len(parts)) if parts[k] < high[k]]
    if giving and taking:
        assert max(giving) - min(taking) <= 1.01  # parts are whole


def test_a_wish_inside_the_box_is_granted() -> None:
    """What violates nothing is not touched."""
    assert project([250_000.0, 750_000.0], [0, 0], [PARTS, PARTS], PARTS) == [250_000, 750_000]


def test_of_equal_remainders_the_first_is_rounded_up() -> None:
    """A million in thirds: the odd part goes to the first place."""
    assert project([PARTS / 3] * 3, [0] * 3, [PARTS] * 3, PARTS) == [333_334, 333_333, 333_333]
