"""Allocations for the flag client's tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.layout import initial_ranges, largest_remainder
from trimtab.schema.allocation import Allocation

NOW = 1_763_700_000_000
HALVES = {"a": 0.5, "b": 0.5}


def allocation(
    revision: int = 1,
    shares: Mapping[str, float] = HALVES,
    *,
    experiment_id: str = "checkout",
    incarnation: str = "one",
    epoch: int = 1,
    valid_until: int | None = None,
    **fields: Any,
) -> Allocation:
    """A sealed allocation; everything but what a test is about has a default."""
    parts = largest_remainder(shares)
    return Allocation.seal(
        **{
            "experiment_id": experiment_id,
            "incarnation": incarnation,
            "revision": revision,
            "epoch": epoch,
            "weights": parts,
            "ranges": initial_ranges(parts),
            "salt": "0123456789abcdef",
            "status": "running",
            "control": next(iter(parts)),
            "decision_id": 1,
            "computed_at": NOW,
            "data_until": NOW,
            "valid_until": valid_until,
            "reason": "A test says so.",
            **fields,
        }
    )


def document(*arguments: Any, **fields: Any) -> bytes:
    """An allocation as the key holds it."""
    return allocation(*arguments, **fields).model_dump_json().encode()
