"""Unleash's client features: the variants of one strategy, a name as often as it has segments.

SDKs divide by the sum of the weights, whatever it is, and allow a name to come again. Unleash's own Admin API allows
neither (weights 0 to 1000, names once): serve this document to SDKs directly, or from an Unleash-compatible address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.exporters.form import Document, Format, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments
from trimtab.schema.base import PARTS

_STICKINESS = "userId"


def write(placements: Sequence[Placement]) -> Document:
    return {"version": 2, "features": [_feature(placement) for placement in placements]}


def _feature(placement: Placement) -> Document:
    allocation = placement.allocation
    return {
        "name": allocation.experiment_id,
        "type": "experiment",
        "enabled": True,
        "stale": placement.concluded is not None,
        "project": "default",
        "strategies": [
            {
                "name": "flexibleRollout",
                "constraints": [],
                "parameters": {"rollout": "100", "stickiness": _STICKINESS, "groupId": allocation.salt},
                "variants": [_variant(placement, variant, size) for variant, size in sizes(placement)],
            }
        ],
        "variants": [],
    }


def _variant(placement: Placement, variant: str, size: int) -> Document:
    # A variant carries nothing but its payload: the epoch that outcome events are to name.
    value = json.dumps({"variant": variant, "epoch": placement.allocation.epoch})
    return {
        "name": variant,
        "weight": size,
        "weightType": "fix",
        "stickiness": _STICKINESS,
        "payload": {"type": "json", "value": value},
    }


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {
        feature["name"]: segments_of(
            (variant["name"], variant["weight"]) for variant in feature["strategies"][0]["variants"]
        )
        for feature in document["features"]
    }


UNLEASH = Format("unleash", PARTS, write, read, reserved=frozenset({"disabled"}))
