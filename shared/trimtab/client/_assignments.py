"""What a question is answered with: allocations turned into immutable tables, and which allocation to accept. Pure.

A table holds one prebuilt answer per slice, so that a question is one hash, one binary search and no allocation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from pydantic import ValidationError

from trimtab.schema.allocation import Allocation
from trimtab.schema.base import PARTS

MAX_DOCUMENT_BYTES = 1024 * 1024


class Reason(StrEnum):
    """Why this answer."""

    SPLIT = "SPLIT"  # the allocation in force chose
    STALE = "STALE"  # an allocation past its time chose: nobody has renewed it, yet it is the best there is
    DEFAULT = "DEFAULT"  # the server holds no allocation of this experiment: the caller's default
    NOT_READY = "NOT_READY"  # no allocation could be read so far: the caller's default
    INVALID_UNIT = "INVALID_UNIT"  # the unit id is no text, or empty: the caller's default


class Assignment(NamedTuple):
    """The variant a unit sees, and what an outcome event needs to say about it.

    `propensity` in (0, 1] is the variant's share in the allocation; `epoch`, `propensity` and `revision` are None where
    no allocation chose.
    """

    variant: str | None
    epoch: int | None
    propensity: float | None
    reason: Reason
    revision: int | None


@dataclass(frozen=True, slots=True)
class Table:
    """One experiment's answers: bucket b belongs to the first slice whose `ends` is above b."""

    prefix: bytes  # salt and colon: what comes before the unit id in the bucket rule
    ends: tuple[int, ...]
    answers: tuple[Assignment, ...]  # none: the caller's default, for `absent`
    absent: Reason = Reason.NOT_READY
    allocation: Allocation | None = None
    stale: bool = False


def missing(reason: Reason) -> Table:
    """The table of an experiment without an allocation."""
    return Table(prefix=b"", ends=(), answers=(), absent=reason)


def table_of(allocation: Allocation, *, stale: bool = False) -> Table:
    reason = Reason.STALE if stale else Reason.SPLIT
    of_variant = {
        variant: Assignment(variant, allocation.epoch, parts / PARTS, reason, allocation.revision)
        for variant, parts in allocation.weights.items()
    }
    return Table(
        prefix=f"{allocation.salt}:".encode(),
        ends=tuple(end for _, _, end in allocation.ranges),
        answers=tuple(of_variant[variant] for variant, _, _ in allocation.ranges),
        allocation=allocation,
        stale=stale,
    )


def aged(table: Table, now: int, grace: int) -> Table:
    """`table` as it is at `now`; `grace` are the milliseconds an allocation may outlive `valid_until`."""
    allocation = table.allocation
    if allocation is None:
        return table
    stale = allocation.valid_until is not None and now > allocation.valid_until + grace
    return table if stale is table.stale else table_of(allocation, stale=stale)


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the documents read so far."""

    accepted: int = 0
    ignored_backward: int = 0  # an older or equal revision of the same incarnation
    ignored_damaged: int = 0  # too large, not JSON, not an allocation, of another experiment, or with a wrong digest
    ignored_missing: int = 0  # the key is gone, while an allocation is held
    errors: int = 0  # the server could not be asked
    new_incarnations: int = 0  # accepted, though another life of the key: data were flushed or restored

    def plus(self, **more: int) -> Counts:
        return replace(self, **{name: getattr(self, name) + n for name, n in more.items()})


def intake(experiment_id: str, table: Table, raw: bytes | None) -> tuple[Table, dict[str, int]]:
    """The table after reading `raw`, what the key holds, and the counts to add."""
    held = table.allocation
    if raw is None:
        return (missing(Reason.DEFAULT), {}) if held is None else (table, {"ignored_missing": 1})
    try:
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError("the document is too large")
        found = Allocation.model_validate_json(raw)
        if found.experiment_id != experiment_id:
            raise ValueError("the document is another experiment's")
    except (ValidationError, ValueError, RecursionError):
        return table, {"ignored_damaged": 1}
    if held is None or found.incarnation != held.incarnation:
        return table_of(found), {"accepted": 1, "new_incarnations": int(held is not None)}
    if found.revision > held.revision:
        return table_of(found), {"accepted": 1}
    return table, {"ignored_backward": 1}
