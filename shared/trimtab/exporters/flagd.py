"""flagd's `flags.json`: `fractional` with whole-number weights, over our own bucket rule.

Units are bucketed by the text ``salt:targetingKey``, so that flagd (Go, Node and every evaluator that hashes the text
itself) assigns each unit exactly as `FlagClient` does. flagd-core for Python from 2.0 on hashes a CBOR encoding of that
text: the same shares and movement, but other units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.exporters.form import Document, Format, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments
from trimtab.schema.base import PARTS

_TARGETING_KEY = {"var": "targetingKey"}


def write(placements: Sequence[Placement]) -> Document:
    return {
        "$schema": "https://flagd.dev/schema/v0/flags.json",
        "flags": {placement.allocation.experiment_id: _flag(placement) for placement in placements},
    }


def _flag(placement: Placement) -> Document:
    allocation = placement.allocation
    flag: Document = {
        "state": "ENABLED",
        "variants": {variant: variant for variant in placement.variants},
        "defaultVariant": placement.default,
        # Scalars only: the Python provider refuses the whole file for anything else it does not know.
        "metadata": {"epoch": allocation.epoch, "revision": allocation.revision, "status": str(allocation.status)},
    }
    if placement.concluded is None:
        bucket_by = {"cat": [f"{allocation.salt}:", _TARGETING_KEY]}
        split = {"fractional": [bucket_by, *([variant, size] for variant, size in sizes(placement))]}
        # Without a key nobody can be assigned: null sends flagd to the default variant.
        flag["targeting"] = {"if": [_TARGETING_KEY, split, None]}
    return flag


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {key: _segments(flag) for key, flag in document["flags"].items()}


def _segments(flag: Mapping[str, Any]) -> Segments:
    if "targeting" not in flag:
        return ((flag["defaultVariant"], 0, PARTS),)
    _, *weights = flag["targeting"]["if"][1]["fractional"]
    return segments_of((variant, size) for variant, size in weights)


FLAGD = Format("flagd", PARTS, write, read)
