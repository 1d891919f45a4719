"""The one projection: the nearest whole parts inside a box, adding up exactly.

w_k = clip(p_k − λ, lo_k, hi_k), with the λ that makes Σw = total, is the Euclidean projection onto the box
(STATISTICS §3). Clamping and then renormalising, as is often done, leaves the box again.
"""

from __future__ import annotations

from collections.abc import Sequence

_SETTLED = 3  # decimals of a part: remainders closer than this are ties, broken by place


def project(wanted: Sequence[float], low: Sequence[int], high: Sequence[int], total: int) -> list[int]:
    """Whole parts nearest to `wanted` with low ≤ parts ≤ high and Σ parts = total.

    Args:
        wanted: what each would like, in parts; need not add up to anything.
        low, high: whole bounds, low ≤ high, with Σ low ≤ total ≤ Σ high.
        total: what they must add up to, such as 1,000,000.

    Returns:
        Parts inside every bound; of equal remainders the earlier place is rounded up.
    """
    shift = _shift(wanted, low, high, total)
    exact = [
        round(min(max(want - shift, lowest), highest), _SETTLED)
        for want, lowest, highest in zip(wanted, low, high, strict=True)
    ]
    parts = [int(share // 1) for share in exact]
    missing = total - sum(parts)
    if missing == 0:
        return parts
    # Bounds are whole, so whoever has a remainder is below its upper bound and one part more still fits.
    for place in sorted(range(len(parts)), key=lambda place: (parts[place] - exact[place], place)):
        if missing <= 0:
            break
        room = min(high[place] - parts[place], 1)
        parts[place] += room
        missing -= room
    return parts if missing == 0 else _settle(parts, low, high, missing)


def _shift(wanted: Sequence[float], low: Sequence[int], high: Sequence[int], total: int) -> float:
    """λ: as it grows, Σ clip(p − λ, lo, hi) falls from Σhi to Σlo, straight between the corners p − hi and p − lo."""
    start, slope = float(sum(high)) - total, 0
    corners = sorted(
        [(want - highest, 1) for want, highest in zip(wanted, high, strict=True)]
        + [(want - lowest, -1) for want, lowest in zip(wanted, low, strict=True)]
    )
    here = corners[0][0]
    for corner, change in corners:
        fall = slope * (corner - here)
        if fall >= start and slope:
            return here + start / slope
        start, here, slope = start - fall, corner, slope + change
    return here


def _settle(parts: list[int], low: Sequence[int], high: Sequence[int], missing: int) -> list[int]:
    """Put right what floating point left over: a part or two at most, wherever there is room."""
    for place in range(len(parts)):
        change = max(low[place] - parts[place], min(high[place] - parts[place], missing))
        parts[place] += change
        missing -= change
    return parts
