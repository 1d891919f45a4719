"""Where each variant sits among the million buckets, and how it moves when the weights do.

`largest_remainder` turns shares into parts per million, `initial_ranges` lays them out, `relayout` moves an existing
layout to new parts: exactly the total variation distance changes hands, so that nobody else sees another variant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from trimtab._moves import Layout
from trimtab.errors import InvalidInput
from trimtab.schema.allocation import Slice
from trimtab.schema.base import PARTS

_SUM_TOLERANCE = 1e-6  # half a part of rounding noise, far below any share somebody could mean


def largest_remainder(shares: Mapping[str, float]) -> dict[str, int]:
    """Parts per million that add up to exactly 1,000,000, each within one part of its share.

    Every share is rounded down, and the parts left over go to the largest remainders; ties go to the lower id. A share
    of zero stays zero parts.

    Raises:
        InvalidInput: no shares, a share that is negative or not finite, or a sum more than 1e-6 away from 1.
    """
    for variant, share in shares.items():
        if not (math.isfinite(share) and share >= 0):
            raise InvalidInput(
                f"The share of variant {variant!r} is {share}: give a number from 0 to 1.", variant=variant, value=share
            )
    total = math.fsum(shares.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise InvalidInput(f"The shares add up to {total:.9g}: they must add up to 1.", value=dict(shares))
    exact = {variant: share / total * PARTS for variant, share in shares.items()}
    parts = {variant: math.floor(value) for variant, value in exact.items()}
    missing = PARTS - sum(parts.values())
    for variant in sorted(parts, key=lambda variant: (parts[variant] - exact[variant], variant))[:missing]:
        parts[variant] += 1
    return parts


def nearest_within(
    wanted: Mapping[str, float], low: Mapping[str, float], high: Mapping[str, float]
) -> dict[str, float]:
    """The shares nearest to `wanted` (Euclidean) that add up to 1 with low ≤ share ≤ high.

    They are clip(wanted − λ, low, high) for the one λ that makes the sum 1, found by bisection. Where no shares fit
    (Σlow > 1 or Σhigh < 1) they are as near to fitting as the limits on the right side allow, scaled to add up to 1.
    """
    left, right = min(wanted[v] - high[v] for v in wanted), max(wanted[v] - low[v] for v in wanted)
    for _ in range(100):  # halves an interval of length ≤ 2 far below a part per million
        middle = (left + right) / 2
        over = math.fsum(min(max(wanted[v] - middle, low[v]), high[v]) for v in wanted) > 1
        left, right = (middle, right) if over else (left, middle)
    shares = {v: min(max(wanted[v] - right, low[v]), high[v]) for v in wanted}
    total = math.fsum(shares.values())
    return {v: share / total for v, share in shares.items()} if total > 0 else dict(wanted)


def initial_ranges(parts: Mapping[str, int]) -> tuple[Slice, ...]:
    """One slice per variant in the order given; variants without parts get none.

    Raises:
        InvalidInput: parts that are negative or do not add up to 1,000,000.
    """
    _check_parts(parts)
    slices, reached = [], 0
    for variant, size in parts.items():
        if size:
            slices.append((variant, reached, reached + size))
            reached += size
    return tuple(slices)


def relayout(ranges: Iterable[Slice], parts: Mapping[str, int]) -> tuple[Slice, ...]:
    """`ranges` changed as little as possible to give every variant its `parts`.

    Every variant that loses gives exactly what it loses, every variant that gains gets exactly that, and nobody else
    moves. Variants may be new in `parts` or missing from it. The same arguments give the same result everywhere.

    Raises:
        InvalidInput: ranges with a gap or an overlap, or parts that do not add up to 1,000,000.
    """
    before = tuple(ranges)
    _check_parts(parts)
    _check_ranges(before)
    layout = Layout(((variant, end - start) for variant, start, end in before), parts)
    layout.settle()
    slices, reached = [], 0
    for variant, size in layout.sizes():
        slices.append((variant, reached, reached + size))
        reached += size
    return tuple(slices)


def _check_parts(parts: Mapping[str, int]) -> None:
    for variant, size in parts.items():
        if size < 0:
            raise InvalidInput(
                f"Variant {variant!r} has {size} parts: give 0 to {PARTS}.", variant=variant, value=size
            )
    if sum(parts.values()) != PARTS:
        raise InvalidInput(f"The parts add up to {sum(parts.values())}: they must add up to {PARTS}.")


def _check_ranges(ranges: tuple[Slice, ...]) -> None:
    reached = 0
    for variant, start, end in ranges:
        if start != reached or end <= start:
            raise InvalidInput(
                f"The range [{variant}, {start}, {end}) does not continue at {reached}: ranges follow each other.",
                variant=variant,
            )
        reached = end
    if reached != PARTS:
        raise InvalidInput(f"The ranges end at {reached}: they must end at {PARTS}.")
