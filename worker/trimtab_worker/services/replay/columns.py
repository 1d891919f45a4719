"""From texts to columns: which rows can be sent, and why the others cannot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.clock import MAX_INSTANT
from trimtab.ids import OPAQUE_MAX_LENGTH
from trimtab.schema.experiment import MAX_SCALED_VALUE, Experiment, Metric, MetricKind
from trimtab_worker.services.replay.mapping import Mapping

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]

_WHOLE = re.compile(r"^(-?\d+)\.0+$")
_MS_FROM = 100_000_000_000
"""Numbers from here on are milliseconds (1973 on), below it seconds (up to the year 5138)."""

_TRUTH = {"true": "1", "false": "0", "yes": "1", "no": "0"}


@dataclass(slots=True)
class Rows:
    """One piece of the file, as columns; `variant` holds places in `variants`, −1 where the value is none of them."""

    n: int
    variants: tuple[str, ...]
    variant: Integers
    metrics: dict[str, NDArray[np.float64]]
    units: NDArray[Any] | None
    instants: Integers | None
    epoch: Integers | None
    strangers: Counter[str]
    faults: dict[tuple[str, bool], Mask]
    keep: Mask

    def epochs(self) -> Iterator[tuple[int | None, Integers]]:
        """The usable rows of each epoch; one group without a number where the file names none."""
        chosen = np.flatnonzero(self.keep)
        if self.epoch is None:
            yield None, chosen
            return
        of_row = self.epoch[chosen]
        for epoch in dict.fromkeys(of_row.tolist()):
            yield epoch, chosen[of_row == epoch]

    def columns(self, chosen: Integers, now: int) -> dict[str, Any]:
        """The chosen rows as the columns of a batch; rows without a time happened `now`."""
        columns: dict[str, Any] = {
            "variants": list(self.variants),
            "variant": self.variant[chosen].tolist(),
            "base": now,
            "metrics": {name: _lean(values[chosen]) for name, values in self.metrics.items()},
        }
        if self.units is not None:
            columns["unit_id"] = self.units[chosen].tolist()
        if self.instants is not None:
            instants = self.instants[chosen]
            columns["base"] = int(instants.min())
            columns["offsets"] = (instants - instants.min()).tolist()
        return columns


def _lean(values: NDArray[np.float64]) -> list[Any]:
    """Whole numbers without `.0`: a byte of JSON instead of three."""
    numbers: list[Any] = values.tolist()
    if (np.abs(values) < 2**53).all() and (values == np.rint(values)).all():
        numbers = values.astype(np.int64).tolist()
    return numbers


def rows_of(frame: pd.DataFrame, mapping: Mapping, experiment: Experiment, first: int, prefix: str) -> Rows:
    """A piece of the file whose first row has the number `first`, checked value by value."""
    n = len(frame)
    faults: dict[tuple[str, bool], Mask] = {}
    missing_variant = frame[mapping.variant].isna().to_numpy()
    variants, variant, strangers = _variants(frame[mapping.variant], mapping, experiment)
    _note(faults, f"{mapping.variant} is missing", missing_variant, fault=False)
    metrics = {
        metric.name: _metric(frame[mapping.metrics[metric.name]], metric, mapping.metrics[metric.name], faults)
        for metric in experiment.metrics
        if metric.name in mapping.metrics
    }
    units = _units(frame, mapping, experiment, first, prefix, faults)
    instants = _instants(frame[mapping.time], mapping.time, faults) if mapping.time else None
    epoch = _epochs(frame[mapping.epoch], mapping.epoch, faults) if mapping.epoch else None
    bad = np.logical_or.reduce(list(faults.values())) if faults else np.zeros(n, dtype=np.bool_)
    return Rows(n, variants, variant, metrics, units, instants, epoch, strangers, faults, ~bad & (variant >= 0))


def _note(faults: dict[tuple[str, bool], Mask], reason: str, where: Mask, *, fault: bool) -> None:
    """Remember which rows are out for a reason, unless an earlier reason has them already."""
    for earlier in faults.values():
        where = where & ~earlier
    if where.any():
        faults[reason, fault] = where


def _variants(column: Any, mapping: Mapping, experiment: Experiment) -> tuple[tuple[str, ...], Integers, Counter[str]]:
    """Each row's variant: as mapped, else the value itself, else the value as a whole number (`1.0` is `1`)."""
    ids = experiment.variant_ids
    codes, found = pd.factorize(column)
    values = [str(value) for value in found]
    places = [_place(value, mapping.variants, ids) for value in values]
    counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
    strangers = Counter({value: n for value, n, place in zip(values, counts, places, strict=True) if place < 0})
    # Missing values have the code −1, which reads the −1 at the table's end.
    return ids, np.array([*places, -1], dtype=np.int64)[codes], strangers


def _place(value: str, renamed: dict[str, str], ids: tuple[str, ...]) -> int:
    whole = match[1] if (match := _WHOLE.match(value)) else value
    for name in (renamed.get(value), renamed.get(whole), value, whole):
        if name in ids:
            return ids.index(name)
    return -1


def _metric(column: Any, metric: Metric, name: str, faults: dict[tuple[str, bool], Mask]) -> NDArray[np.float64]:
    texts = column.where(column.isna(), column.str.strip().str.lower().replace(_TRUTH))
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    missing = column.isna().to_numpy()
    _note(faults, f"{name} is missing", missing, fault=False)
    _note(faults, f"{name} is no finite number", ~np.isfinite(numbers) & ~missing, fault=True)
    sound = np.where(np.isfinite(numbers), numbers, 0.0)
    _note(faults, f"{name} is no value of a {metric.kind} metric", _impossible(metric, sound), fault=True)
    return sound


def _impossible(metric: Metric, values: NDArray[np.float64]) -> Mask:
    """What the fold would refuse: said here, because a refused row cannot be sent again under its number."""
    limit = np.abs(values) > MAX_SCALED_VALUE / metric.scale
    if metric.cap is not None:
        limit = np.zeros_like(limit)
    match metric.kind:
        case MetricKind.BINARY:
            return np.asarray((values != 0) & (values != 1))
        case MetricKind.COUNT:
            return np.asarray(limit | (values < 0) | (values != np.rint(values)))
        case MetricKind.REVENUE:
            return np.asarray(limit | (values < 0))
    return limit


def _units(
    frame: pd.DataFrame, mapping: Mapping, experiment: Experiment, first: int, prefix: str, faults: dict[Any, Mask]
) -> NDArray[Any] | None:
    if mapping.unit is None:
        if experiment.unit == "event":
            return None
        return np.array([f"{prefix}-{row}" for row in range(first, first + len(frame))], dtype=object)
    column = frame[mapping.unit]
    _note(faults, f"{mapping.unit} is missing", column.isna().to_numpy(), fault=False)
    texts = column.fillna("").astype(str)
    _note(
        faults,
        f"{mapping.unit} is longer than {OPAQUE_MAX_LENGTH} characters",
        (texts.str.len() > OPAQUE_MAX_LENGTH).to_numpy(dtype=np.bool_),
        fault=True,
    )
    return texts.to_numpy(dtype=object)


def _instants(column: Any, name: str, faults: dict[tuple[str, bool], Mask]) -> Integers:
    """RFC 3339 or any date pandas reads (UTC where it names no offset), or a number of seconds or milliseconds."""
    missing = column.isna().to_numpy()
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    as_number = np.isfinite(numbers)
    instants = np.zeros(len(column))
    scale = np.where(np.abs(numbers) < _MS_FROM, 1000.0, 1.0)
    instants[as_number] = np.rint(numbers[as_number] * scale[as_number])
    texts = ~as_number & ~missing
    if texts.any():
        dates = pd.to_datetime(column[texts], utc=True, errors="coerce", format="mixed")
        unread = dates.isna().to_numpy()
        seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1)
        instants[texts] = np.where(unread, -1.0, np.rint(seconds.to_numpy(dtype=np.float64, na_value=-1.0)))
    _note(faults, f"{name} is missing", missing, fault=False)
    outside = (instants < 0) | (instants > MAX_INSTANT)
    _note(faults, f"{name} is no instant from 1970 on", outside & ~missing, fault=True)
    return np.where(outside, 0, instants).astype(np.int64)


def _epochs(column: Any, name: str, faults: dict[tuple[str, bool], Mask]) -> Integers:
    missing = column.isna().to_numpy()
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    sound = np.where(np.isfinite(numbers), numbers, 0.0)
    _note(faults, f"{name} is missing", missing, fault=False)
    wrong = (sound < 1) | (sound >= 2**31) | (sound != np.rint(sound))
    _note(faults, f"{name} is no epoch", wrong & ~missing, fault=True)
    return np.where(wrong, 0, sound).astype(np.int64)
