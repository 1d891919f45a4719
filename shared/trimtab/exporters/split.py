"""Split's `splitChanges` document, as its SDKs also read it from a file: partitions in whole percent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.exporters.form import Document, Format, number_of, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments

RESOLUTION = 100
_MURMUR = 2  # the algorithm's number


def write(placements: Sequence[Placement]) -> Document:
    changed = max((placement.allocation.computed_at for placement in placements), default=0)
    return {
        "ff": {"d": [_flag(placement) for placement in placements], "s": -1, "t": changed},
        "rbs": {"d": [], "s": -1, "t": -1},
    }


def _flag(placement: Placement) -> Document:
    allocation = placement.allocation
    configuration = json.dumps({"epoch": allocation.epoch})
    return {
        "trafficTypeName": "user",
        "name": allocation.experiment_id,
        "trafficAllocation": 100,
        "trafficAllocationSeed": _seed(f"{allocation.salt}:traffic"),
        "seed": _seed(allocation.salt),
        "status": "ACTIVE",
        "killed": False,
        "defaultTreatment": placement.default,
        "changeNumber": allocation.computed_at,
        "algo": _MURMUR,
        "configurations": dict.fromkeys(placement.variants, configuration),
        "conditions": [_everybody(placement)],
    }


def _everybody(placement: Placement) -> Document:
    matcher = {"keySelector": None, "matcherType": "ALL_KEYS", "negate": False}
    return {
        "conditionType": "ROLLOUT",
        "matcherGroup": {"combiner": "AND", "matchers": [matcher]},
        "partitions": [{"treatment": variant, "size": size} for variant, size in sizes(placement)],
        "label": "default rule",
    }


def _seed(salt: str) -> int:
    """A signed number of 32 bits, never 0, which Split's SDKs replace by one of their own."""
    return (number_of(salt, 32) - 2**31) or 1


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {flag["name"]: _segments(flag) for flag in document["ff"]["d"]}


def _segments(flag: Mapping[str, Any]) -> Segments:
    return segments_of((part["treatment"], part["size"]) for part in flag["conditions"][0]["partitions"])


SPLIT = Format("split", RESOLUTION, write, read, reserved=frozenset({"control"}))
