"""LaunchDarkly's file data source: a rollout of kind `experiment`, weights per 100,000.

The REST API takes one weight per variation; only files and relays allow a variation several segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.exporters.form import Document, Format, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments

RESOLUTION = 100_000


def write(placements: Sequence[Placement]) -> Document:
    return {"flags": {placement.allocation.experiment_id: _flag(placement) for placement in placements}}


def _flag(placement: Placement) -> Document:
    allocation = placement.allocation
    return {
        "key": allocation.experiment_id,
        "on": True,
        "version": allocation.revision,
        "salt": allocation.salt,
        "variations": list(placement.variants),
        "offVariation": placement.variants.index(allocation.control),
        "prerequisites": [],
        "targets": [],
        "rules": [],
        "fallthrough": _fallthrough(placement),
    }


def _fallthrough(placement: Placement) -> Document:
    number = placement.variants.index
    if placement.concluded is not None:
        return {"variation": number(placement.concluded)}
    variations = [{"variation": number(variant), "weight": size} for variant, size in sizes(placement)]
    # Without a seed the SDKs hash the flag's key and its salt, which is ours.
    return {
        "rollout": {"kind": "experiment", "contextKind": "user", "bucketBy": "key", "variations": variations},
    }


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {key: _segments(flag) for key, flag in document["flags"].items()}


def _segments(flag: Mapping[str, Any]) -> Segments:
    names, fallthrough = flag["variations"], flag["fallthrough"]
    if "variation" in fallthrough:
        return ((names[fallthrough["variation"]], 0, RESOLUTION),)
    return segments_of((names[part["variation"]], part["weight"]) for part in fallthrough["rollout"]["variations"])


LAUNCHDARKLY = Format("launchdarkly", RESOLUTION, write, read)
