"""GrowthBook's features payload: one rule per round of segments, so that every variant keeps its number and key.

A variant that owns several segments stands with its first in the first rule, with its second in the second, and so on;
a unit in none of a rule's ranges goes on to the next rule. Hash version 2 tells 10,000 buckets apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.clock import to_rfc3339
from trimtab.exporters.form import Document, Format
from trimtab.exporters.placement import Placement, Segments

RESOLUTION = 10_000
_NOTHING = [0.0, 0.0]


def write(placements: Sequence[Placement]) -> Document:
    return {
        "status": 200,
        "features": {placement.allocation.experiment_id: _feature(placement) for placement in placements},
        "dateUpdated": to_rfc3339(max((placement.allocation.computed_at for placement in placements), default=0)),
    }


def _feature(placement: Placement) -> Document:
    # A concluded experiment assigns nobody any more, so it is a plain value: no exposures are tracked.
    rules = [] if placement.concluded else [_rule(placement, ranges) for ranges in _rounds(placement)]
    return {"defaultValue": placement.default, "rules": rules}


def _rule(placement: Placement, ranges: list[list[float]]) -> Document:
    allocation = placement.allocation
    return {
        "key": allocation.experiment_id,
        "seed": allocation.salt,
        "hashAttribute": "id",
        "hashVersion": 2,
        "variations": list(placement.variants),
        "meta": [{"key": variant} for variant in placement.variants],
        "ranges": ranges,
        "coverage": 1,
        # What a tracking callback can hand to the outcome event as its epoch.
        "phase": str(allocation.epoch),
    }


def _rounds(placement: Placement) -> list[list[list[float]]]:
    """For each round, one range per variant."""
    owned: dict[str, list[list[float]]] = {variant: [] for variant in placement.variants}
    for variant, start, end in placement.segments:
        owned[variant].append([start / RESOLUTION, end / RESOLUTION])
    rounds = max(len(ranges) for ranges in owned.values())
    return [[ranges[n] if n < len(ranges) else _NOTHING for ranges in owned.values()] for n in range(rounds)]


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {key: _segments(feature) for key, feature in document["features"].items()}


def _segments(feature: Mapping[str, Any]) -> Segments:
    if not feature["rules"]:
        return ((feature["defaultValue"], 0, RESOLUTION),)
    found = [
        (variant, round(start * RESOLUTION), round(end * RESOLUTION))
        for rule in feature["rules"]
        for variant, (start, end) in zip(rule["variations"], rule["ranges"], strict=True)
        if end > start
    ]
    return tuple(sorted(found, key=lambda segment: segment[1]))


GROWTHBOOK = Format("growthbook", RESOLUTION, write, read)
