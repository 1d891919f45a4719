"""What a first reading of the file found, before anything is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.ports import Published
from trimtab_worker.services.replay.columns import Rows
from trimtab_worker.services.replay.mapping import Mapping


@dataclass(frozen=True, slots=True)
class Skipped:
    """Rows left out for one reason; `fault` tells a value that is wrong from one that is not there."""

    reason: str
    n: int
    first_row: int
    fault: bool


@dataclass(slots=True)
class Survey:
    """What a first reading of the file found."""

    rows: int = 0
    usable: int = 0
    strangers: Counter[str] = field(default_factory=Counter)
    counts: Counter[tuple[str, bool]] = field(default_factory=Counter)
    last_epoch: int = 0
    first_rows: dict[tuple[str, bool], int] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        for reason, where in rows.faults.items():
            self.counts[reason] += int(where.sum())
            self.first_rows.setdefault(reason, self.rows + 1 + int(np.flatnonzero(where)[0]))
        self.strangers += rows.strangers
        if rows.epoch is not None:
            self.last_epoch = max(self.last_epoch, int(rows.epoch.max()))
        self.usable += int(rows.keep.sum())
        self.rows += rows.n

    def skipped(self) -> Iterator[Skipped]:
        for (reason, fault), n in self.counts.most_common():
            yield Skipped(reason, n, self.first_rows[reason, fault], fault)

    def check(self, path: Path, mapping: Mapping, published: Published) -> None:
        """Raise where a variant or an epoch of the file is none of the experiment's, or where the file is empty."""
        experiment = published.experiment
        if self.strangers:
            found = ", ".join(f"{value!r} ({n} rows)" for value, n in self.strangers.most_common(10))
            raise InvalidInput(
                f"{path}: column {mapping.variant!r} holds {found}; experiment {experiment.id!r} has the variants "
                f"{', '.join(experiment.variant_ids)}. Name them with --map-variant VALUE=ID. Nothing was sent.",
                field=mapping.variant,
            )
        if not self.rows:
            raise InvalidInput(f"{path} has no rows.")
        in_force = published.allocation.epoch if published.allocation else 0
        if self.last_epoch > in_force:
            raise InvalidInput(
                f"{path}: column {mapping.epoch!r} names epoch {self.last_epoch}; experiment {experiment.id!r} is at "
                f"epoch {in_force}. Nothing was sent.",
                field=mapping.epoch,
            )
