"""Where each variant sits among the million buckets, and how it moves when the weights do.

`largest_remainder` turns shares into parts per million, `initial_ranges` lays them out, `relayout` moves an existing
layout to new parts: exactly the total variation distance changes hands, so that nobody else sees another variant.
`rescale` and the argument `total` serve targets with fewer buckets than a million.
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
    return _filled(parts, {variant: exact[variant] - parts[variant] for variant in parts}, PARTS)


def rescale(parts: Mapping[str, int], total: int) -> dict[str, int]:
    """Parts per million as parts that add up to exactly `total`, by largest remainders, in exact integers.

    Each is within one part of its share; ties go to the lower id.

    Raises:
        InvalidInput: parts that are negative or do not add up to 1,000,000.
    """
    _check_parts(parts, PARTS)
    divided = {variant: divmod(size * total, PARTS) for variant, size in parts.items()}
    whole = {variant: quotient for variant, (quotient, _) in divided.items()}
    return _filled(whole, {variant: remainder for variant, (_, remainder) in divided.items()}, total)


def _filled(parts: Mapping[str, int], remainders: Mapping[str, float], total: int) -> dict[str, int]:
    """`parts`, with what they lack of `total` given to the largest remainders, one each."""
    missing = total - sum(parts.values())
    chosen = set(sorted(parts, key=lambda variant: (-remainders[variant], variant))[:missing])
    return {variant: size + (variant in chosen) for variant, size in parts.items()}


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


def initial_ranges(parts: Mapping[str, int], total: int = PARTS) -> tuple[Slice, ...]:
    """One slice per variant in the order given; variants without parts get none.

    Raises:
        InvalidInput: parts that are negative or do not add up to `total`.
    """
    _check_parts(parts, total)
    return _slices(parts.items())


def relayout(ranges: Iterable[Slice], parts: Mapping[str, int], total: int = PARTS) -> tuple[Slice, ...]:
    """`ranges` changed as little as possible to give every variant its `parts`.

    Every variant that loses gives exactly what it loses, every variant that gains gets exactly that, and nobody else
    moves. Variants may be new in `parts` or missing from it. The same arguments give the same result everywhere.

    Raises:
        InvalidInput: ranges with a gap or an overlap, or ranges or parts that do not add up to `total`.
    """
    before = tuple(ranges)
    _check_parts(parts, total)
    _check_ranges(before, total)
    layout = Layout(((variant, end - start) for variant, start, end in before), parts)
    layout.settle()
    return _slices(layout.sizes())


def moved(before: Iterable[Slice], after: Iterable[Slice]) -> int:
    """How many buckets have another owner in `after` than in `before`; both cover the same buckets."""
    here, there = list(before), list(after)
    n = i = j = 0
    while i < len(here) and j < len(there):
        (giver, start, end), (taker, begin, stop) = here[i], there[j]
        if giver != taker:
            n += min(end, stop) - max(start, begin)
        i, j = i + (end <= stop), j + (stop <= end)
    return n


def _slices(sizes: Iterable[tuple[str, int]]) -> tuple[Slice, ...]:
    """Owners and sizes in order, as slices that follow each other; what has no size gets none."""
    slices, reached = [], 0
    for variant, size in sizes:
        if size:
            slices.append((variant, reached, reached + size))
            reached += size
    return tuple(slices)


def _check_parts(parts: Mapping[str, int], total: int) -> None:
    for variant, size in parts.items():
        if size < 0:
            raise InvalidInput(
                f"Variant {variant!r} has {size} parts: give 0 to {total}.", variant=variant, value=size
            )
    if sum(parts.values()) != total:
        raise InvalidInput(f"The parts add up to {sum(parts.values())}: they must add up to {total}.")


def _check_ranges(ranges: tuple[Slice, ...], total: int) -> None:
    reached = 0
    for variant, start, end in ranges:
        if start != reached or end <= start:
            raise InvalidInput(
                f"The range [{variant}, {start}, {end}) does not continue at {reached}: ranges follow each other.",
                variant=variant,
            )
        reached = end
    if reached != total:
        raise InvalidInput(f"The ranges end at {reached}: they must end at {total}.")
