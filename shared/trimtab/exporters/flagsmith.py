"""Flagsmith's environment document for SDKs that evaluate locally: percentages with two decimals.

The SDKs' hash tells 9,998 values apart, so a boundary is right to a bucket of a ten-thousandth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from trimtab.clock import to_rfc3339
from trimtab.exporters.form import Document, Format, number_of, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments

RESOLUTION = 10_000
_PER_PERCENT = RESOLUTION // 100


def write(placements: Sequence[Placement]) -> Document:
    organisation = {
        "id": 1,
        "name": "trimtab",
        "feature_analytics": False,
        "stop_serving_flags": False,
        "persist_trait_data": True,
    }
    project = {"id": 1, "name": "trimtab", "hide_disabled_flags": False, "organisation": organisation, "segments": []}
    return {
        "id": 1,
        "name": "trimtab",
        "api_key": "trimtab",
        "updated_at": to_rfc3339(max((placement.allocation.computed_at for placement in placements), default=0)),
        "project": project,
        "segment_overrides": [],
        "identity_overrides": [],
        "feature_states": [_state(number, placement) for number, placement in enumerate(placements, start=1)],
    }


def _state(number: int, placement: Placement) -> Document:
    allocation = placement.allocation
    concluded = placement.concluded is not None
    return {
        # The SDKs hash the first of these two that is set, and the unit: our salt decides the split.
        "django_id": None,
        "featurestate_uuid": _uuid(allocation.salt),
        "enabled": True,
        "feature": {
            "id": number,
            "name": allocation.experiment_id,
            "type": "STANDARD" if concluded else "MULTIVARIATE",
        },
        "feature_state_value": placement.default,
        "feature_segment": None,
        "multivariate_feature_state_values": [] if concluded else _values(placement),
    }


def _values(placement: Placement) -> list[Document]:
    """One value per segment; SDKs lay them out in the order of their ids."""
    return [
        {
            "id": number,
            "percentage_allocation": size / _PER_PERCENT,
            "mv_fs_value_uuid": _uuid(f"{placement.allocation.salt}:{number}"),
            "multivariate_feature_option": {"id": placement.variants.index(variant) + 1, "value": variant},
        }
        for number, (variant, size) in enumerate(sizes(placement), start=1)
    ]


def _uuid(text: str) -> str:
    return str(UUID(int=number_of(text, 128), version=4))


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {state["feature"]["name"]: _segments(state) for state in document["feature_states"]}


def _segments(state: Mapping[str, Any]) -> Segments:
    values = sorted(state["multivariate_feature_state_values"], key=lambda value: value["id"])
    if not values:
        return ((state["feature_state_value"], 0, RESOLUTION),)
    return segments_of(
        (value["multivariate_feature_option"]["value"], round(value["percentage_allocation"] * _PER_PERCENT))
        for value in values
    )


FLAGSMITH = Format("flagsmith", RESOLUTION, write, read)
