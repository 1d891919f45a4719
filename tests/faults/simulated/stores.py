"""The in-memory twins with a point of the schedule before each command, and a history that no trim shortens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from faults.simulated.schedule import Schedule
from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.fold import Commit, Entry, ExperimentState, PartitionState
from trimtab.fold.commit import Cursor, IdArray
from trimtab.fold.dedupe import Mask
from trimtab.ports import LogEnds, PartitionStore, Publication, Published
from trimtab.schema.allocation import Allocation

T = TypeVar("T")


class SimulatedPartition(MemoryPartition):
    """`MemoryPartition` whose every command takes its turn and may fail.

    What Redis answers key by key takes a turn for each key; what is one script is one step.
    """

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(clock=lambda: schedule.now)
        self.schedule = schedule
        self._all.life = "first"
        self.history: list[Entry] = []
        self.announcements: list[int] = []  # ever, also what the server lost again
        self.commits = {"applied": 0, "refused": 0}

    def _do(self, name: str, effect: Callable[[], T], *, repeatable: bool = False) -> T:
        return self.schedule.command(name, effect, repeatable=repeatable)

    def append(self, field: str, payload: bytes) -> str:
        return self._do("append", lambda: super(SimulatedPartition, self).append(field, payload), repeatable=True)

    def append_at(self, milliseconds: int, field: str, payload: bytes) -> str:
        entry_id = super().append_at(milliseconds, field, payload)
        self.history.append(self._all.entries[-1])
        return entry_id

    def append_all(self, field: str, payloads: Iterable[bytes]) -> list[str]:
        """All or none, as a transaction of several batches."""
        return self._do(
            "append all",
            lambda: [self.append_at(self.schedule.now, field, payload) for payload in payloads],
            repeatable=True,
        )

    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        def effect() -> bool:
            if self._all.epochs.get(experiment_id, 0) >= epoch or life not in ("", self._all.life):
                return False
            self.announcements.append(epoch)
            self.append_at(self.schedule.now, "control", payload)
            self._all.epochs[experiment_id] = epoch
            return True

        return self._do("announce", effect, repeatable=True)

    def announced(self, experiment_id: str) -> int:
        return self._do("announced", lambda: super(SimulatedPartition, self).announced(experiment_id))

    def read(self, after: str, count: int, block_ms: int | None = None) -> list[Entry]:
        return self._do("read", lambda: super(SimulatedPartition, self).read(after, count, block_ms))

    def ends(self) -> LogEnds:
        return self._do("ends", lambda: super(SimulatedPartition, self).ends())

    def trim(self, before: str) -> int:
        return self._do("trim", lambda: super(SimulatedPartition, self).trim(before), repeatable=True)

    def load(self) -> PartitionState:
        return self._do("load", lambda: super(SimulatedPartition, self).load(), repeatable=True)

    def stands(self) -> Cursor:
        return self._do("stands", lambda: super(SimulatedPartition, self).stands())

    def load_experiments(self, names: Iterable[str], at: Cursor | None = None) -> dict[str, ExperimentState | None]:
        loaded: dict[str, ExperimentState | None] = {}
        for name in names:
            loaded |= self._do("load one", lambda n=name: super(SimulatedPartition, self).load_experiments([n]))
        self._do("where", lambda: self._check_still_at(at))
        return loaded

    def seen(self, lookups: Mapping[str, IdArray], at: Cursor | None = None) -> dict[str, Mask]:
        found: dict[str, Mask] = {}
        for bucket, marks in lookups.items():
            found |= self._do("seen", lambda b=bucket, m=marks: super(SimulatedPartition, self).seen({b: m}))
        self._do("where", lambda: self._check_still_at(at))
        return found

    def commit(self, commit: Commit) -> bool:
        def effect() -> bool:
            applied = super(SimulatedPartition, self).commit(commit)
            self.commits["applied" if applied else "refused"] += 1
            return applied

        return self._do("commit", effect, repeatable=True)

    def copy_from(self, source: PartitionStore, over: Cursor | None = None) -> bool:
        # Both cursors are read first, by commands of their own; then one script compares and copies.
        read, mine = source.load().cursor, over or self.load().cursor

        def effect() -> bool:
            if source._state.cursor != read:
                return False
            return MemoryPartition.copy_from(self, source, mine)

        return self._do("copy", effect)

    def take_lease(self, holder: str, seconds: float) -> bool:
        return True  # an economy, never a safety: here nobody ever waits for anybody

    def leave_lease(self, holder: str) -> None:
        pass

    # ── what the world does to it ──

    def remember(self) -> Any:
        """All that a server holds, to come back to."""
        return copy.deepcopy(self._all), list(self.history)

    def come_back(self, remembered: Any) -> None:
        """The state of an earlier moment, as after the loss of a log's end."""
        everything, history = remembered
        for name in self._all.__slots__:
            setattr(self._all, name, getattr(everything, name))
        self._all.life = "second"
        self.history[:] = history


class SimulatedPublications(MemoryPublications):
    """`MemoryPublications` with turns and faults, and a record of every revision published."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.published: list[Published] = []
        self.served: list[Allocation] = []  # ever, also what the server lost again

    def read(self, experiment_id: str) -> Published | None:
        return self.schedule.command(
            "read published", lambda: super(SimulatedPublications, self).read(experiment_id)
        )

    def publish(self, publication: Publication) -> None:
        def effect() -> None:
            super(SimulatedPublications, self).publish(publication)
            self.published.append(self._published[publication.experiment.id])
            self.served += [publication.allocation] if publication.allocation else []

        self.schedule.command("publish", effect)

    def ledger(self, experiment_id: str, count: int) -> list[Any]:
        return self.schedule.command("ledger", lambda: super(SimulatedPublications, self).ledger(experiment_id, count))

    def remember(self) -> Any:
        ledgers = {name: list(entries) for name, entries in self._ledgers.items()}
        return dict(self._published), ledgers, set(self._ticks), list(self.published)

    def come_back(self, remembered: Any) -> None:
        self._published, self._ledgers, self._ticks, self.published = remembered
        self.life = "second"
