"""Protocols that are wrong in one place each: the simulation must tell every one of them from the right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from faults.simulated.stores import SimulatedPartition, SimulatedPublications
from faults.simulated.world import Parts
from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.client._outbox import Outbox, Window
from trimtab.fold import Commit, ExperimentState
from trimtab.fold.commit import Cursor, IdArray
from trimtab.fold.dedupe import Mask
from trimtab.ports import Publication, Published
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.maintain import Maintain


class _CommitWithoutCheck(SimulatedPartition):
    def commit(self, commit: Commit) -> bool:
        def effect() -> bool:
            return MemoryPartition.commit(self, replace(commit, expected=self._state.cursor))

        return self._do("commit", effect)


class _EffectBeforeCheck(SimulatedPartition):
    def commit(self, commit: Commit) -> bool:
        def effect() -> bool:
            expected, moved = commit.expected, self._state.cursor
            standing = {name: self._state.cur[name] for name in ("run", "id")}
            MemoryPartition.commit(self, replace(commit, expected=moved))
            if expected == moved:
                return True
            self._state.cur |= standing
            return False

        return self._do("commit", effect)


class _CursorAfterEffect(SimulatedPartition):
    """Two writes, as a fold that acknowledges after it has counted."""

    def commit(self, commit: Commit) -> bool:
        still = {name: commit.partition[name] for name in commit.partition if name != "id"}
        still["id"] = commit.expected.id
        if not self._do("commit", lambda: MemoryPartition.commit(self, replace(commit, partition=still))):
            return False
        moved = Commit(expected=commit.expected, partition={"id": commit.partition["id"]})
        return self._do("commit", lambda: MemoryPartition.commit(self, moved))


class _CursorBeforeEffect(SimulatedPartition):
    """Two writes, as a fold that acknowledges before it has counted."""

    def commit(self, commit: Commit) -> bool:
        first = Commit(expected=commit.expected, partition={"id": commit.partition["id"]})
        if not self._do("commit", lambda: MemoryPartition.commit(self, first)):
            return False
        self._do("commit", lambda: MemoryPartition.commit(self, replace(commit, expected=commit.cursor)))
        return True


class _MarksAfterCommit(SimulatedPartition):
    def commit(self, commit: Commit) -> bool:
        if not self._do("commit", lambda: MemoryPartition.commit(self, replace(commit, marks={}))):
            return False

        def effect() -> None:
            for bucket, marks in commit.marks.items():
                self._state.marks[bucket] |= set(marks.tolist())

        self._do("marks", effect)
        return True


class _ReadsOfAnyMoment(SimulatedPartition):
    def load_experiments(self, names: Iterable[str], at: Cursor | None = None) -> dict[str, ExperimentState | None]:
        return super().load_experiments(names)

    def seen(self, lookups: Mapping[str, IdArray], at: Cursor | None = None) -> dict[str, Mask]:
        return super().seen(lookups)


class _AnnounceWithoutCheck(SimulatedPartition):
    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        def effect() -> bool:
            self.append_at(self.schedule.now, "control", payload)
            self._all.epochs[experiment_id] = epoch
            return True

        return self._do("announce", effect)


class _AnnounceInAnyLife(SimulatedPartition):
    """A number that was chosen before the loss is taken after it, where it happens to be free again."""

    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        return super().announce(experiment_id, epoch, payload)


class _PublishWithoutCheck(SimulatedPublications):
    def publish(self, publication: Publication) -> None:
        def effect() -> None:
            current = self._published.get(publication.experiment.id)
            standing = current.revision if current else 0
            MemoryPublications.publish(self, replace(publication, expected_revision=standing))
            self.published.append(replace(self._published[publication.experiment.id],
                                          revision=publication.expected_revision + 1))  # fmt: skip

        self.schedule.command("publish", effect)


class _OlderOutcomesPublished(SimulatedPublications):
    """A recompute that publishes over whatever is there, reading the revision at the last moment."""

    def publish(self, publication: Publication) -> None:
        def effect() -> None:
            current: Published | None = self._published.get(publication.experiment.id)
            revision = current.revision if current else 0
            allocation = publication.allocation
            if current and current.allocation and allocation:
                self._published[publication.experiment.id] = replace(current, allocation=None)
                allocation = allocation.seal(**{**allocation.model_dump(exclude={"digest"}), "revision": revision + 1})
            late = replace(publication, expected_revision=revision, allocation=allocation)
            MemoryPublications.publish(self, late)
            self.published.append(self._published[publication.experiment.id])

        self.schedule.command("publish", effect)


class _BlindToLives(SimulatedPublications):
    """A server that comes back without its newest publications goes on under the incarnation that they had."""

    def read(self, experiment_id: str) -> Published | None:
        found = super().read(experiment_id)
        return replace(found, incarnation=self._published[experiment_id].incarnation) if found else None


class _NumbersOn(SimulatedPublications):
    """A server that comes back without its newest epochs gives their numbers out again."""

    def read(self, experiment_id: str) -> Published | None:
        found = super().read(experiment_id)
        return replace(found, epochs_from=1, restored=False) if found else None


class _RevisionsOfAnyLife(SimulatedPublications):
    """What was read before the loss is published after it, where the revision happens to fit."""

    def publish(self, publication: Publication) -> None:
        super().publish(replace(publication, life=self.life))


class _ForgetsNothing(Ingest):
    """A worker that keeps its state after a commit was refused, as if its answer had merely been lost."""

    def _fold(self, state: Any, entries: Any, report: DrainReport) -> None:
        races = report.lost_races
        super()._fold(state, entries, report)
        if report.lost_races > races:
            moved = self.store.load()
            state.cursor = moved.cursor
            self._state = state


class _TrimsWhatIsUnread(Maintain):
    def trim(self) -> bool:
        ends = self.store.ends()
        if ends.length > 3:
            self.store.trim(ends.last_id)
        return True


class _NewNumbersForRepeats(Outbox):
    """A failed batch is sent again as if it were a new one."""

    def confirm(self, window: Window, replies: Any, now: int) -> tuple[int, Exception | None]:
        confirmed, failure = super().confirm(window, replies, now)
        if failure:
            for lane in self._lanes.values():
                name = self._new_id()
                for number, batch in enumerate(list(lane.unconfirmed), 1):
                    payload = batch.payload.replace(batch.producer.encode(), name.encode())
                    payload = payload.replace(b'"sequence":%d' % batch.sequence, b'"sequence":%d' % number)
                    lane.unconfirmed[number - 1] = replace(batch, producer=name, sequence=number, payload=payload)
                lane.producer, lane.sequence = name, len(lane.unconfirmed)
        return confirmed, failure


class _KeepsNothing(Outbox):
    """A publisher that takes a confirmation for good, also where the server lost what it confirmed."""

    def _keep(self, partition: int, batch: Any, now: int) -> None:
        pass


MUTANTS: dict[str, Parts] = {
    "commit without the offset check": Parts(partition=_CommitWithoutCheck),
    "effect before the check": Parts(partition=_EffectBeforeCheck),
    "cursor written after the effect": Parts(partition=_CursorAfterEffect),
    "cursor written before the effect": Parts(partition=_CursorBeforeEffect),
    "marks written after the commit": Parts(partition=_MarksAfterCommit),
    "state read of any moment": Parts(partition=_ReadsOfAnyMoment),
    "epoch announced without a check": Parts(partition=_AnnounceWithoutCheck),
    "publication without compare-and-set": Parts(publications=_PublishWithoutCheck),
    "older outcomes over newer ones": Parts(publications=_OlderOutcomesPublished),
    "lives of the server not noticed": Parts(publications=_BlindToLives),
    "epochs numbered on after a loss": Parts(publications=_NumbersOn),
    "publication of an earlier life": Parts(_AnnounceInAnyLife, _RevisionsOfAnyLife),
    "state kept after a lost race": Parts(ingest=_ForgetsNothing),
    "unread entries trimmed": Parts(maintain=_TrimsWhatIsUnread),
    "repeats under new numbers": Parts(outbox=_NewNumbersForRepeats),
    "nothing kept after a confirmation": Parts(outbox=_KeepsNothing),
}
