"""Upkeep of a partition: the log is trimmed behind a snapshot, epochs are merged when there are too many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import structlog

from trimtab.errors import CorruptState
from trimtab.fold import ExperimentState, PartitionState
from trimtab.fold.commit import LOG_START
from trimtab.ports import PartitionStore
from trimtab.schema.control import ClockTick, Compaction, ControlEntry
from trimtab.schema.event import CONTROL_FIELD

# An entry's id may move the log's clock by two days at most (fold.survey.CLOCK_STEP); a tick a day keeps clear of that.
QUIET_MS = 86_400_000

# At most so many epochs per experiment; beyond, neighbours are merged down to half, so that merging is rare.
MAX_EPOCHS = 512

Parts = npt.NDArray[np.int64]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Maintain:
    """Keeps one partition's log and state bounded; `retention_bytes` is what the log may hold."""

    store: PartitionStore
    retention_bytes: int

    def run(self) -> None:
        """All upkeep that is due."""
        self.tick_clock()
        self.trim()
        self.compact()

    def tick_clock(self) -> None:
        """Tell a log that was quiet for a day what time it is."""
        now, state = self.store.now(), self.store.load()
        if state.clock and now - state.clock > QUIET_MS and self.store.ends().last_id == state.cursor.id:
            self._write(ClockTick(at=now))

    def trim(self) -> bool:
        """Take a snapshot once half the retention was folded since the last, and trim the log behind the last.

        So the log always reaches back to a snapshot, and never past what the fold has read. After a backlog that is
        longer than the whole retention it is trimmed behind the new snapshot: a server that the backlog filled takes
        no event before it is trimmed, so there would be no next time.
        """
        snapshot = self.store.space("snapshot")
        before, now = _readable(snapshot), self.store.load()
        folded = now.counters["bytes"] - before.counters["bytes"]
        if folded < self.retention_bytes // 2:
            return False
        if not snapshot.copy_from(self.store):
            return False  # the fold moved on meanwhile; the next round tries again
        behind = (now if folded > self.retention_bytes else before).cursor.id
        if behind != LOG_START:
            removed = self.store.trim(behind)
            log.info("trimmed", partition=self.store.partition, entries=removed, before=behind)
        return True

    def compact(self) -> None:
        """Merge epochs of every experiment that has more than `MAX_EPOCHS`."""
        counters = self.store.counters(self.store.experiments(), ["epochs"])
        many = [name for name, found in counters.items() if found["epochs"] > MAX_EPOCHS]
        for name, state in self.store.load_experiments(many).items():
            if state is not None:
                into = nearest_neighbours(state, keep=MAX_EPOCHS // 2)
                self._write(Compaction(at=self.store.now(), experiment_id=name, into=into))
                log.info("compacted", experiment=name, epochs=len(state.epochs), merged=len(into))

    def _write(self, entry: ControlEntry) -> None:
        self.store.append(CONTROL_FIELD, entry.model_dump_json().encode())


def _readable(snapshot: PartitionStore) -> PartitionState:
    """The snapshot's state; an empty one where it is damaged: nobody can rebuild from it, so another is due."""
    try:
        return snapshot.load()
    except CorruptState:
        return PartitionState()


def nearest_neighbours(state: ExperimentState, *, keep: int) -> dict[int, int]:
    """Which epochs to merge into which earlier neighbour so that `keep` remain; the newest one stays as it is.

    Always those two neighbours whose weights, over all of both, lie closest together: inside a merged epoch weights
    must have moved little, or pooling it would bring back what epochs are there to prevent. (Asking only how far each
    is from the next would chain a slow drift into one epoch.)
    """
    closed = list(state.epochs)[:-1]
    variants = sorted({variant for epoch in closed for variant in state.epochs[epoch].parts})
    parts = [[state.epochs[epoch].parts.get(variant, 0) for variant in variants] for epoch in closed]
    low, high = list(np.array(parts, np.int64)), list(np.array(parts, np.int64))
    heads = list(range(len(closed)))
    costs = [_spread(low, high, k) for k in range(len(closed) - 1)]
    while costs and len(heads) + 1 > keep:
        k = min(range(len(costs)), key=costs.__getitem__)
        low[k], high[k] = np.minimum(low[k], low[k + 1]), np.maximum(high[k], high[k + 1])
        del low[k + 1], high[k + 1], heads[k + 1], costs[k]
        for touched in (k - 1, k):
            if 0 <= touched < len(costs):
                costs[touched] = _spread(low, high, touched)
    ends = [*heads[1:], len(closed)]
    return {
        closed[later]: closed[head] for head, end in zip(heads, ends, strict=True) for later in range(head + 1, end)
    }


def _spread(low: list[Parts], high: list[Parts], k: int) -> int:
    """How far weights range in the epochs k and k + 1 together: Σ over variants of greatest less least parts."""
    return int((np.maximum(high[k], high[k + 1]) - np.minimum(low[k], low[k + 1])).sum())
