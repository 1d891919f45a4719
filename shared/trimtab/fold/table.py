"""Columns of events: rows and batches become the same `Table`, so that one path counts both."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.fold.commit import Entry
from trimtab.fold.decode import Batch

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LARGEST = 2**53  # up to here a float64 holds every integer


@dataclass(slots=True)
class Table:
    """Events of one experiment and origin in log order, as columns of `n` values.

    Absent numbers are NaN, absent times 0.

    `entries`, `clock` (the log's clock, in milliseconds) and `written_at` have one value for a batch, one per row for
    rows; `epoch`
    has one or `n`. `faulty_values` marks rows with a metric that is no finite number, `faulty_fields` rows with
    another column that is not what it must be.
    """

    experiment_id: str
    entries: list[Entry]
    clock: Integers
    written_at: Integers  # by the entry's id, in milliseconds
    variants: list[str]
    variant: Integers  # places in `variants`, unchecked
    metrics: dict[str, Numbers]
    occurred_at: Integers
    epoch: Integers
    exposed_at: Integers | None
    unit_ids: list[Any] | None
    event_ids: list[Any] | None
    tokens: list[Any] | None
    imported: bool
    faulty_values: Mask | None = None
    faulty_fields: Mask | None = None

    @property
    def n(self) -> int:
        return len(self.variant)

    def entry(self, row: int) -> Entry:
        return self.entries[0] if len(self.entries) == 1 else self.entries[row]


def table_of_batch(decoded: Batch, clock: int) -> Table:
    """A batch as a table; `clock` is the log's clock at its entry."""
    batch, exact = decoded.batch, decoded.exact
    values = {name: _numbers(column, exact) for name, column in batch.metrics.items()}
    variant, bad_variant = _integers(batch.variant, exact)
    offsets, bad_offset = _integers(batch.offsets, exact) if batch.offsets is not None else (None, None)
    exposed, bad_exposed = None, None
    if batch.exposed_at is not None:
        exposed, bad_exposed = _integers([at or 0 for at in batch.exposed_at], exact)
    return Table(
        experiment_id=batch.experiment_id,
        entries=[decoded.entry],
        clock=np.array([clock]),
        written_at=np.array([decoded.entry.milliseconds]),
        variants=batch.variants,
        variant=variant,
        metrics={name: numbers for name, (numbers, _) in values.items()},
        occurred_at=np.full(batch.n, batch.base) if offsets is None else batch.base + offsets,
        epoch=np.array([batch.epoch or 0]),
        exposed_at=exposed,
        unit_ids=batch.unit_id,
        event_ids=batch.event_id,
        tokens=batch.token,
        imported=batch.origin == "import",
        faulty_values=_any_of(*(fault for _, fault in values.values())),
        faulty_fields=_any_of(bad_variant, bad_offset, bad_exposed),
    )


class GatheredRows(NamedTuple):
    """Rows of one experiment and origin in log order: event, entry, when it was written, the log's clock there.

    `unreadable` holds, for each entry of the experiment that could not be read, how many rows came before it.
    """

    experiment_id: str
    origin: str
    rows: list[tuple[dict[str, Any], Entry, int, int]]
    unreadable: list[int]


def table_of_rows(gathered: GatheredRows) -> Table:
    """Gathered rows as a table."""
    events, entries, written_at, clocks = zip(*gathered.rows, strict=True)
    variants = [event["variant"] for event in events]
    place = {variant: index for index, variant in enumerate(dict.fromkeys(variants))}
    metrics = [event["metrics"] for event in events]
    names = dict.fromkeys(chain.from_iterable(metrics))
    return Table(
        experiment_id=gathered.experiment_id,
        entries=list(entries),
        clock=np.array(clocks),
        written_at=np.array(written_at),
        variants=list(place),
        variant=np.array([place[variant] for variant in variants]),
        metrics={name: np.array([given.get(name, np.nan) for given in metrics]) for name in names},
        occurred_at=np.array([event["occurred_at"] for event in events]),
        epoch=np.array([event.get("epoch") or 0 for event in events]),
        exposed_at=np.array([event.get("exposed_at") or 0 for event in events]),
        unit_ids=[event.get("unit_id") for event in events],
        event_ids=[event.get("event_id") for event in events],
        tokens=[event.get("token") for event in events],
        imported=gathered.origin == "import",
    )


def _numbers(values: list[Any], exact: bool) -> tuple[Numbers, Mask | None]:
    """A JSON column as floats with NaN for null, and a mask of what is no finite number."""
    if exact and (column := _as_array(values, _SMALL, _WHOLE, _REAL)) is not None:
        numbers = column.astype(np.float64)
        finite = np.isfinite(numbers)
        return numbers, None if finite.all() else ~finite
    fault = np.array([value is not None and not _is_finite(value) for value in values])
    clean = [np.nan if value is None or bad else _clamp(value) for value, bad in zip(values, fault, strict=True)]
    return np.array(clean, dtype=np.float64), fault if fault.any() else None


def _integers(values: list[Any], exact: bool) -> tuple[Integers, Mask | None]:
    """A JSON column as integers with 0 in place of whatever is none, and a mask of those."""
    if exact and (column := _as_array(values, _SMALL, _WHOLE)) is not None:
        whole = column.astype(np.int64)
        fault = np.abs(whole) > _LARGEST
        return (whole, None) if not fault.any() else (np.where(fault, 0, whole), fault)
    fault = np.array([type(value) is not int or abs(value) > _LARGEST for value in values])
    return np.array([0 if bad else value for value, bad in zip(values, fault, strict=True)]), fault


# Ways to pack a list of numbers, the fastest first: each refuses what does not fit it, and text, null and lists always.
# (numpy.array takes four times as long, and takes text for numbers.)
_Packing = tuple[Callable[[list[Any]], Any], type[np.generic]]
_SMALL: _Packing = (bytes, np.uint8)
_WHOLE: _Packing = (partial(array, "q"), np.int64)
_REAL: _Packing = (partial(array, "d"), np.float64)


def _as_array(values: list[Any], *packings: _Packing) -> NDArray[Any] | None:
    """`values` as an array by the first of `packings` that takes them all."""
    for pack, kind in packings:
        try:
            return np.frombuffer(pack(values), dtype=kind)
        except (TypeError, ValueError, OverflowError):
            continue
    return None


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _clamp(value: float) -> float:
    """A number a float64 can hold; what is cut off here is far outside every metric's range and refused there."""
    return float(max(-1e300, min(1e300, value)))


def _any_of(*faults: Mask | None) -> Mask | None:
    found = [fault for fault in faults if fault is not None]
    return np.logical_or.reduce(found) if found else None
