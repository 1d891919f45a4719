"""Which decisions are so late that whoever notices should make them: the drain's answer to a dead beat."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.ids import partition_of
from trimtab.ports import PublicationStore
from trimtab.schema.experiment import Status

PERIODS_LATE = 2  # one may be lost to a restart; after the second nobody else is going to


@dataclass(frozen=True, slots=True)
class Overdue:
    """Finds experiments whose decision is late by `PERIODS_LATE` recompute periods."""

    publications: PublicationStore

    def find(self, partition: int, now_ms: int) -> list[str]:
        """Ids of running experiments of `partition` whose decision should have come two periods ago, sorted."""
        count = self.publications.partitions() or 1
        names = [name for name in self.publications.experiments() if partition_of(name, count) == partition]
        return [name for name in names if self._late(name, now_ms)]

    def _late(self, experiment_id: str, now_ms: int) -> bool:
        found = self.publications.read(experiment_id)
        if found is None or found.allocation is None or found.status is not Status.RUNNING:
            return False
        periods = (now_ms - found.allocation.computed_at) / (found.experiment.recompute_seconds * 1000)
        return periods >= 1 + PERIODS_LATE
