"""What every format is made of: its resolution, how it writes placements down, how it reads segments back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from trimtab.exporters.placement import Placement, Segments, place
from trimtab.schema.allocation import Allocation, Slice

Document = dict[str, Any]
Sizes = Iterable[tuple[str, int]]
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Format:
    """One flag system's document. Pure: `write` and `read` are each other's inverse on segments.

    `resolution` is the number of buckets that the target's hash, or its unit of weight, can tell apart; `reserved` are
    the names that its SDKs answer where they have no answer. `read` raises one of UNREADABLE at a document that it did
    not write.
    """

    name: str
    resolution: int
    write: Callable[[Sequence[Placement]], Document]
    read: Callable[[Mapping[str, Any]], dict[str, Segments]]
    reserved: frozenset[str] = frozenset()

    def render(self, allocations: Iterable[Allocation]) -> Document:
        """The document of all these experiments, the same for the same allocations whoever renders it."""
        return self.write([place(allocation, self.resolution) for allocation in by_id(allocations)])


def by_id(allocations: Iterable[Allocation]) -> list[Allocation]:
    return sorted(allocations, key=lambda allocation: allocation.experiment_id)


def sizes(placement: Placement) -> list[tuple[str, int]]:
    """Variant and number of buckets, segment by segment: how most targets write weights."""
    return [(variant, end - start) for variant, start, end in placement.segments]


def segments_of(found: Sizes) -> Segments:
    """The inverse of `sizes`."""
    segments, reached = [], 0
    for variant, size in found:
        segments.append((variant, reached, reached + size))
        reached += size
    return tuple(segments)


def checked(segment: Slice) -> Slice:
    """The segment, if it has the types of one; whole numbers may have been written as 10.0.

    Raises:
        TypeError: it is none.
    """
    variant, start, end = segment
    if not (isinstance(variant, str) and start == int(start) and end == int(end)):
        raise TypeError(f"{segment} is no segment")
    return variant, int(start), int(end)


def number_of(salt: str, bits: int) -> int:
    """A number of so many bits for targets whose seeds are numbers: unequal salts, unrelated splits."""
    return int.from_bytes(sha256(salt.encode()).digest()) >> (256 - bits)
