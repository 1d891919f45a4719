"""Which events of a table count, in which cell, with which values; each refused row leaves with one reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.fold.decode import letter
from trimtab.fold.state import OPEN, ExperimentState, TrialKey
from trimtab.fold.table import Integers, Mask, Numbers, Table
from trimtab.ids import OPAQUE_MAX_LENGTH
from trimtab.schema.dead_letter import DeadLetter, DeadLetterCode
from trimtab.schema.experiment import MAX_SCALED_VALUE, Metric, MetricKind, Status

FEW_CELLS = 64  # up to here, cells without events cost less than finding out which have some

Column = TypeVar("Column", Integers, Mask)


@dataclass(slots=True)
class Accepted:
    """Events that count unless they are duplicates; columns of equal length, in log order.

    `cells` lists epoch × variant, `cell` holds places in it; `values` are round-half-even(x·scale), with `present`
    marking where a metric was given (None: everywhere).
    """

    cells: list[TrialKey]
    cell: Integers
    values: dict[str, Integers]
    present: dict[str, Mask | None]
    clipped: dict[str, Mask]
    occurred_at: Integers
    unstamped: Mask | bool
    unit_ids: list[str] | None
    event_ids: list[Any] | None
    unit_cap: int | None  # how many outcomes of one unit count in an hour
    imported: bool
    together: bool  # whether all came in one entry

    @property
    def n(self) -> int:
        return len(self.cell)


@dataclass(slots=True)
class _Refusals:
    """One code per row, the first that was found; 0 stands for none."""

    n: int
    codes: list[tuple[DeadLetterCode, str]] = field(default_factory=list)
    row: NDArray[np.int16] | None = None

    def mark(self, where: Mask | bool | np.bool_ | None, code: DeadLetterCode, detail: str) -> None:
        """Refuse the rows `where` is true, unless they are refused already."""
        if where is None or where is False or not np.any(where):
            return
        if self.row is None:
            self.row = np.zeros(self.n, dtype=np.int16)
        self.codes.append((code, detail))
        self.row[(self.row == 0) & where] = len(self.codes)

    def keep(self) -> Mask | None:
        """The rows that stand; None for all."""
        return None if self.row is None else self.row == 0

    def letters(self, table: Table) -> list[DeadLetter]:
        if self.row is None:
            return []
        if len(table.entries) == table.n:
            return [self._letter(table, row) for row in np.flatnonzero(self.row).tolist()]
        # One letter for all rows of a batch that were refused for the same reason: each would quote the same entry.
        reasons = [reason for reason in np.unique(self.row).tolist() if reason]
        return [self._letter(table, rows[0], rows) for rows in map(self._rows_of, reasons)]

    def _rows_of(self, reason: int) -> list[int]:
        assert self.row is not None, "reasons are those of refused rows"
        rows: list[int] = np.flatnonzero(self.row == reason).tolist()
        return rows

    def _letter(self, table: Table, row: int, rows: list[int] | None = None) -> DeadLetter:
        assert self.row is not None, "letters are written for refused rows only"
        code, detail = self.codes[self.row[row] - 1]
        return letter(table.entry(row), code, detail, rows=rows, experiment_id=table.experiment_id)


class Verdict(NamedTuple):
    """A table's events: those that count, letters for the others, and which rows these are (None: none)."""

    accepted: Accepted
    letters: list[DeadLetter]
    refused: Mask | None


def accept(
    table: Table, owner: ExperimentState, *, horizon: int, tolerance: int, forged: Mask | None = None
) -> Verdict:
    """Check every row of `table` against the experiment as it stands at that point of the log.

    `horizon` and `tolerance` are milliseconds behind and ahead of the log's clock; `forged` marks rows whose exposure
    nobody vouches for.
    """
    refusals = _Refusals(table.n)
    refusals.mark(forged, DeadLetterCode.AUTH, "no exposure token in force says that the unit was served this variant")
    _check_status(owner, refusals)
    refusals.mark(table.faulty_fields, DeadLetterCode.INVALID_FIELD, "a column holds something that is no integer")
    if not table.imported:
        _check_time(table, refusals, horizon, tolerance)
    variant = _check_variants(table, owner, refusals)
    epoch, unstamped = _check_epochs(table, owner, refusals)
    values, present, clipped = _check_metrics(table, owner, refusals)
    unit_ids = _check_units(table, owner, refusals)
    _check_event_ids(table, refusals)

    keep = refusals.keep()
    cells, cell = _cells(owner.definition.variant_ids, _cut(epoch, keep), _cut(variant, keep))
    accepted = Accepted(
        cells=cells,
        cell=cell,
        values={name: _cut(column, keep) for name, column in values.items()},
        present={name: None if mask is None else _cut(mask, keep) for name, mask in present.items()},
        clipped={name: _cut(mask, keep) for name, mask in clipped.items()},
        occurred_at=_cut(table.occurred_at, keep),
        unstamped=unstamped if isinstance(unstamped, bool) else _cut(unstamped, keep),
        unit_ids=_cut_list(unit_ids, keep),
        event_ids=_cut_list(table.event_ids, keep),
        unit_cap=_unit_cap(table, owner),
        imported=table.imported,
        together=len(table.entries) == 1,
    )
    return Verdict(accepted, refusals.letters(table), None if keep is None else ~keep)


def _check_status(owner: ExperimentState, refusals: _Refusals) -> None:
    if owner.status not in OPEN:
        code = DeadLetterCode.NOT_STARTED if owner.status is Status.DRAFT else DeadLetterCode.STOPPED
        refusals.mark(np.True_, code, f"experiment {owner.definition.id!r} is {owner.status} and takes no outcomes")


def _check_time(table: Table, refusals: _Refusals, horizon: int, tolerance: int) -> None:
    late = table.clock - table.occurred_at > horizon
    refusals.mark(late, DeadLetterCode.TOO_LATE, f"occurred_at is more than {horizon // 3_600_000} h old")
    # After days of silence the log's clock is behind what the entry's own id says, and the event is of today.
    ahead = table.occurred_at - np.maximum(table.clock, table.written_at) > tolerance
    refusals.mark(ahead, DeadLetterCode.FUTURE, f"occurred_at is more than {tolerance // 60_000} min ahead")


def _check_variants(table: Table, owner: ExperimentState, refusals: _Refusals) -> Integers:
    """Each row's variant as its place in the definition."""
    known = {variant: place for place, variant in enumerate(owner.definition.variant_ids)}
    inside = (table.variant >= 0) & (table.variant < len(table.variants))
    detail = f"variant is no place in the batch's {len(table.variants)} variants"
    refusals.mark(~inside, DeadLetterCode.INVALID_FIELD, detail)
    places = np.array([known.get(name, -1) for name in table.variants])
    variant = places[np.where(inside, table.variant, 0)]
    strangers = [name for name in table.variants if name not in known]
    if strangers:
        what = _one_of([f"variant {name!r}" for name in strangers])
        detail = f"{what} is not one of {', '.join(owner.definition.variant_ids[:20])}"
        refusals.mark(variant < 0, DeadLetterCode.UNKNOWN_VARIANT, detail)
    return np.asarray(np.maximum(variant, 0), dtype=np.int64)


def _check_epochs(table: Table, owner: ExperimentState, refusals: _Refusals) -> tuple[Integers, Mask | bool]:
    """Each row's epoch, one value where they all share it, and which rows named none."""
    in_force = owner.epoch_in_force
    if in_force is None:
        detail = f"experiment {owner.definition.id!r} has published no weights yet"
        refusals.mark(np.True_, DeadLetterCode.NOT_STARTED, detail)
        return np.zeros(1, dtype=np.int64), False
    stamped = table.epoch > 0
    # 0 asks for the epoch of exposed_at, or for the one in force here; −1 says there is none.
    named, which = np.unique(table.epoch, return_inverse=True)
    settled = {e: (owner.settled_epoch(e) or -1) if e else 0 for e in named.tolist()}
    epoch = np.array(list(settled.values()), dtype=np.int64)[which]
    exposed = table.exposed_at
    if not stamped.all() and exposed is not None and exposed.any():
        epoch = np.broadcast_to(epoch, exposed.shape).copy()
        asks = (epoch == 0) & (exposed > 0)
        epoch[asks] = _epochs_at(owner, exposed[asks])
    unknown = epoch < 0
    if unknown.any():
        strange = [f"epoch {e}" for e, known in settled.items() if known < 0]
        if (unknown & ~stamped).any():
            strange.append("the epoch at exposed_at")
        refusals.mark(unknown, DeadLetterCode.UNKNOWN_EPOCH, f"{_one_of(strange)} was never announced in the log")
    unstamped = epoch == 0
    epoch[unstamped] = in_force
    return epoch, bool(unstamped[0]) if len(unstamped) == 1 else unstamped


def _one_of(named: list[str]) -> str:
    """What is wrong with some of the rows that are refused together, in words that are true of each."""
    return named[0] if len(named) == 1 else f"what it names, one of {', '.join(named[:8])},"


def _epochs_at(owner: ExperimentState, instants: Integers) -> Integers:
    starts = np.array([record.started_at for record in owner.epochs.values()])
    numbers = np.array([-1, *owner.epochs])
    return np.asarray(numbers[np.searchsorted(starts, instants, side="right")])


def _check_metrics(
    table: Table, owner: ExperimentState, refusals: _Refusals
) -> tuple[dict[str, Integers], dict[str, Mask | None], dict[str, Mask]]:
    """Scaled values per metric, where they were given, and where they were clipped to the metric's cap."""
    refusals.mark(table.faulty_values, DeadLetterCode.INVALID_VALUE, "a metric's value is no finite number")
    values: dict[str, Integers] = {}
    present: dict[str, Mask | None] = {}
    clipped: dict[str, Mask] = {}
    for metric in owner.definition.metrics:
        column = table.metrics.get(metric.name)
        if column is None:
            continue
        absent = np.isnan(column)
        given = None if not absent.any() else ~absent
        numbers = column if given is None else np.where(absent, 0.0, column)
        refusals.mark(_impossible(metric, numbers), DeadLetterCode.INVALID_VALUE, _expectation(metric))
        if metric.cap is not None:
            beyond = np.abs(numbers) > metric.cap
            if beyond.any():
                clipped[metric.name] = beyond
                numbers = np.clip(numbers, -metric.cap, metric.cap)
        scaled = np.rint(numbers * metric.scale)
        too_large = np.abs(scaled) > MAX_SCALED_VALUE
        if too_large.any():
            largest = MAX_SCALED_VALUE / metric.scale
            refusals.mark(too_large, DeadLetterCode.INVALID_VALUE, f"{metric.name} is beyond ±{largest:.6g}")
            scaled[too_large] = 0
        values[metric.name], present[metric.name] = scaled.astype(np.int64), given
    _check_any_metric(table, present, refusals)
    return values, present, clipped


def _check_any_metric(table: Table, present: dict[str, Mask | None], refusals: _Refusals) -> None:
    detail = f"none of the metrics {', '.join(list(table.metrics)[:8])} belongs to the experiment"
    if not present:
        refusals.mark(np.True_, DeadLetterCode.UNKNOWN_METRIC, detail)
    masks = [mask for mask in present.values() if mask is not None]
    if masks and len(masks) == len(present):
        refusals.mark(~np.logical_or.reduce(masks), DeadLetterCode.UNKNOWN_METRIC, detail)


def _impossible(metric: Metric, numbers: Numbers) -> Mask | None:
    match metric.kind:
        case MetricKind.BINARY:
            return np.asarray((numbers != 0) & (numbers != 1))
        case MetricKind.COUNT:
            return np.asarray((numbers < 0) | (numbers != np.rint(numbers)))
        case MetricKind.REVENUE:
            return numbers < 0
    return None


def _expectation(metric: Metric) -> str:
    expected = {
        MetricKind.BINARY: "0 or 1",
        MetricKind.COUNT: "a whole number from 0",
        MetricKind.REVENUE: "an amount from 0",
        MetricKind.CONTINUOUS: "a number",
    }
    return f"{metric.name} is {metric.kind}: its value must be {expected[metric.kind]}"


def _check_units(table: Table, owner: ExperimentState, refusals: _Refusals) -> list[Any] | None:
    """Unit ids, where the experiment counts units, or so many outcomes of each."""
    cap = _unit_cap(table, owner)
    if owner.definition.unit == "unit":
        detail = "unit_id is missing, and this experiment counts every unit once"
    elif cap is not None:
        detail = f"unit_id is missing, and this experiment counts at most {cap} outcomes of a unit in an hour"
    else:
        return None
    if table.unit_ids is None:
        refusals.mark(np.True_, DeadLetterCode.MISSING_UNIT, detail)
        return None
    if not _all_ids(table.unit_ids):
        refusals.mark(_where(table.unit_ids, lambda unit: unit is None), DeadLetterCode.MISSING_UNIT, detail)
        refusals.mark(_where(table.unit_ids, _is_no_id), DeadLetterCode.INVALID_FIELD, _ID_RULE.format("unit_id"))
    return table.unit_ids


def _unit_cap(table: Table, owner: ExperimentState) -> int | None:
    """The cap on a unit's outcomes in an hour; imports have none, for a person chose what is in them."""
    return None if table.imported else owner.definition.max_outcomes_per_unit_hour


def _check_event_ids(table: Table, refusals: _Refusals) -> None:
    if table.event_ids is not None and not _all_ids(table.event_ids):
        bad = _where(table.event_ids, lambda event_id: event_id is not None and _is_no_id(event_id))
        refusals.mark(bad, DeadLetterCode.INVALID_FIELD, _ID_RULE.format("event_id"))


_ID_RULE = f"{{}} must be text of 1 to {OPAQUE_MAX_LENGTH} characters"


def _is_no_id(value: Any) -> bool:
    return type(value) is not str or not 0 < len(value) <= OPAQUE_MAX_LENGTH


def _all_ids(values: list[Any]) -> bool:
    """Whether every value is a well-formed id, by a look that costs little per value."""
    return set(map(type, values)) == {str} and min(map(len, values)) > 0 and max(map(len, values)) <= OPAQUE_MAX_LENGTH


def _where(values: list[Any], test: Callable[[Any], bool]) -> Mask:
    return np.array([test(value) for value in values])


def _cells(variants: tuple[str, ...], epoch: Integers, variant: Integers) -> tuple[list[TrialKey], Integers]:
    """Epoch × variant cells, and each row's place among them; only those that occur, where there would be many."""
    if len(epoch) == 1 and len(variants) <= FEW_CELLS:
        only = int(epoch[0])
        return [(only, name) for name in variants], variant
    epochs, row_epoch = np.unique(epoch, return_inverse=True)
    codes, cell = np.unique(row_epoch * len(variants) + variant, return_inverse=True)
    places = [divmod(code, len(variants)) for code in codes.tolist()]
    return [(int(epochs[e]), variants[v]) for e, v in places], cell


def _cut(column: Column, keep: Mask | None) -> Column:
    """The rows that stand; a column of one value for all rows stays as it is."""
    return column if keep is None or len(column) == 1 != len(keep) else column[keep]


def _cut_list(column: list[Any] | None, keep: Mask | None) -> list[Any] | None:
    if column is None or keep is None:
        return column
    return [value for value, kept in zip(column, keep.tolist(), strict=True) if kept]
