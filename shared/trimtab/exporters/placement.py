"""Where an allocation's variants sit among a target's buckets, and what the target's resolution costs.

A target that divides units as finely as we do gets the allocation's own ranges. A coarser one gets whole numbers of its
buckets by largest remainders, laid out so that as few units as possible see another variant than before.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.layout import initial_ranges, moved, relayout, rescale
from trimtab.schema.allocation import Allocation, Slice
from trimtab.schema.base import PARTS
from trimtab.schema.experiment import Status

Segments = tuple[Slice, ...]
"""`[variant, start, end)` over 0 … resolution − 1 in order, without a gap."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How many units, in parts per million, see another variant than under the document before."""

    parts: int
    total_variation: int  # what the weights themselves make unavoidable
    fixed_order: int  # what one segment per variant, always in one order, would have moved

    @property
    def extra(self) -> int:
        """What the target's resolution adds; below zero where it swallows a small change of weights."""
        return self.parts - self.total_variation


@dataclass(frozen=True, slots=True)
class Placement:
    """One experiment as one target serves it. `movement` is None where no document came before."""

    allocation: Allocation
    resolution: int
    segments: Segments
    movement: Movement | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """All variants, also those without traffic, so that their numbers in a document do not change."""
        return tuple(self.allocation.weights)

    @property
    def concluded(self) -> str | None:
        """The variant that everybody sees for good, once the experiment is concluded."""
        return self.segments[0][0] if self.allocation.status is Status.CONCLUDED else None

    @property
    def default(self) -> str:
        """What a flag system serves where it cannot split: the chosen variant, else control."""
        return self.concluded or self.allocation.control

    @property
    def shares(self) -> dict[str, float]:
        """The share of units, in [0, 1], that the target gives each variant."""
        return {variant: n / self.resolution for variant, n in _owned(self.segments, self.variants).items()}

    @property
    def rounding_error(self) -> float:
        """The largest difference, in [0, 1], between a variant's share in the target and its weight."""
        weights = self.allocation.weights
        return max(abs(share - weights[variant] / PARTS) for variant, share in self.shares.items())

    @property
    def starved(self) -> tuple[str, ...]:
        """Variants that have a weight, but less than the target can serve."""
        return tuple(v for v, share in self.shares.items() if self.allocation.weights[v] and not share)


@dataclass(frozen=True, slots=True)
class Before:
    """What the target served before: its segments, and the parts per million they stood for, where these are known."""

    segments: Segments
    weights: dict[str, int] | None = None


def place(allocation: Allocation, resolution: int, before: Before | None = None) -> Placement:
    """`allocation` among `resolution` buckets, moving as few units as possible away from `before`.

    Without `before` the boundaries are those of the allocation, rounded, and then as few buckets as possible change
    hands to make every variant's number of buckets exact. So the same allocation always has the same segments, and two
    that follow each other nearly the same.

    Raises:
        InvalidInput: segments before that do not cover the target's buckets.
    """
    if resolution == PARTS:
        segments = allocation.ranges
    else:
        origin = before.segments if before else _rounded(allocation.ranges, resolution)
        segments = relayout(origin, rescale(allocation.weights, resolution), resolution)
    movement = None if before is None else _movement(before, segments, allocation, resolution)
    return Placement(allocation, resolution, segments, movement)


def _rounded(ranges: Segments, resolution: int) -> Segments:
    """The ranges with each boundary at the nearest bucket of the target; what becomes empty is left out."""
    scaled = (
        (variant, (2 * start * resolution + PARTS) // (2 * PARTS), (2 * end * resolution + PARTS) // (2 * PARTS))
        for variant, start, end in ranges
    )
    return tuple((variant, start, end) for variant, start, end in scaled if end > start)


def _movement(before: Before, segments: Segments, allocation: Allocation, resolution: int) -> Movement:
    names = (*allocation.weights, *sorted({variant for variant, _, _ in before.segments} - {*allocation.weights}))
    bucket = PARTS // resolution  # in parts per million
    was, now = _owned(before.segments, names), _owned(segments, names)
    weights = before.weights or {name: n * bucket for name, n in was.items()}
    gains = (allocation.weights.get(name, 0) - weights.get(name, 0) for name in names)
    in_order = moved(initial_ranges(was, resolution), initial_ranges(now, resolution))
    return Movement(
        parts=moved(before.segments, segments) * bucket,
        total_variation=sum(gain for gain in gains if gain > 0),
        fixed_order=in_order * bucket,
    )


def _owned(segments: Segments, variants: tuple[str, ...]) -> dict[str, int]:
    owned = dict.fromkeys(variants, 0)
    for variant, start, end in segments:
        owned[variant] += end - start
    return owned
