"""The drain: read what is new in a partition's log, fold it, commit; exactly once, whoever else does the same."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

import structlog

from trimtab.errors import ConfigurationError, Conflict, CorruptState, LogGap
from trimtab.fold import Commit, Entry, PartitionState, ask, decode, mentioned, settle, survey
from trimtab.fold.commit import LOG_FULL, Cursor, size_of
from trimtab.fold.dedupe import Lookup, Mask
from trimtab.ports import PartitionStore, entry_order
from trimtab_worker.services.attempts import Attempts
from trimtab_worker.services.remembered import RememberedMarks

# A lease outlasts the longest read by this, and is renewed after each. No longer: a killed drain's lease, and then the
# wait for beat's next revival, must be over within two revivals (EO-02); at 5 s in all, that took 10.3 s of 10.
LEASE_MARGIN_SECONDS = 2.0
OVERTIME_SECONDS = 5.0  # what a flood may add to the time a drain parks, well inside a task's time limit
BYTES_AT_ONCE = 8 * 2**20  # a read that big folds in some tenths of a second, well inside a task's time limit
FIRST_COUNT, MAX_COUNT = 64, 8192  # entries in a read; more would gain little, and large ones may follow small ones

P = ParamSpec("P")
T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DrainReport:
    """What one drain did; counts are events, `commits` are writes."""

    busy: bool = False
    entries: int = 0
    folded: int = 0
    duplicates: int = 0
    capped: int = 0
    dead: int = 0
    commits: int = 0
    lost_races: int = 0


@dataclass(slots=True)
class Ingest:
    """Folds one partition; keeps its state between drains, and throws it away whenever a commit is refused."""

    store: PartitionStore
    stop_at: str | None = None  # a rebuild folds up to an entry, and not past it
    watch_gaps: bool = True  # off only while an operator accepts a loss
    _state: PartitionState | None = None
    _marks: RememberedMarks = field(default_factory=RememberedMarks)
    _count: int = field(default=FIRST_COUNT)
    _attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.store)

    def drain(self, *, holder: str, park_seconds: float = 0.0, block_ms: int = 1000) -> DrainReport:
        """Fold until the log is empty, then wait for more until `park_seconds` have passed.

        `holder` names this drain in the lease; another holder's lease makes it return at once with `busy`. The lease
        saves work; what keeps the count exact is the cursor check of every commit.

        Raises:
            LogGap: entries that were never folded are gone from the log.
            CorruptState: a stored value is not what the fold writes.
        """
        report, lease = DrainReport(), block_ms / 1000 + LEASE_MARGIN_SECONDS
        if not self.store.take_lease(holder, lease):
            report.busy = True
            return report
        self._attempts = Attempts(self.store)
        self._attempts.begin()
        try:
            self._drain(report, time.monotonic() + park_seconds, block_ms, lambda: self.store.take_lease(holder, lease))
        finally:
            self._attempts.end()
            self.store.leave_lease(holder)
        if report.commits:
            log.info(
                "drained",
                partition=self.store.partition,
                folded=report.folded,
                duplicates=report.duplicates,
                capped=report.capped,
                dead=report.dead,
                commits=report.commits,
            )
        return report

    def _drain(self, report: DrainReport, until: float, block_ms: int, renew_lease: Callable[[], object]) -> None:
        while True:
            worked = self.step(report, None)
            self.store.report_drain()  # after it: who cannot fold must fall silent, whatever the reason
            if not worked:
                left = until - time.monotonic()
                if left <= 0:
                    return
                self.step(report, max(1, min(block_ms, int(left * 1000))))
            renew_lease()
            if worked and time.monotonic() > until + OVERTIME_SECONDS:
                return  # a flood outlasts one task; the next nudge goes on

    def step(self, report: DrainReport, block_ms: int | None) -> bool:
        """Fold one read, waiting up to `block_ms` for it; False if there was nothing to read."""
        count, self._count = self._count, max(1, self._count // 2)  # a read that fails is tried again by halves
        state = self._current()
        with _collector_paused():
            count = self._attempts.count(state.cursor, count)
            entries = self._within(self.store.read(state.cursor.id, count, block_ms))
            # Asked after the read: what was removed before it, even a moment before, shows now.
            if not self._reaches_back(state):
                return True
            if entries and not self._attempts.trying(state.cursor, entries):
                self._forget()
                return True
            if entries:
                self._fold(state, entries, report)
            self._attempts.survived(len(entries))
            self._count = self._adapted(count, entries)
            return bool(entries)

    def _reaches_back(self, state: PartitionState) -> bool:
        """Whether the log still has all that follows `state`; False if that state was not the newest.

        Raises:
            LogGap: it has not.
        """
        if not self.watch_gaps:
            return True
        try:
            check_gap(self.store, state)
        except LogGap:
            # A server that came back without its last second has an older state, and a log to match: look again.
            if self.store.load().cursor == state.cursor:
                raise
            self._forget()
            return False
        return True

    def _fold(self, state: PartitionState, entries: list[Entry], report: DrainReport) -> None:
        """Fold `entries`, which follow `state`, and commit."""
        check_secret(self.store, state)
        reading = self._purely(decode, entries, state.quarantined)
        unknown = mentioned(reading) - state.experiments.keys()
        try:
            if unknown:
                state.experiments |= self.store.load_experiments(sorted(unknown), state.cursor)
            found = self._purely(survey, state, reading, self.store.keyring)
            questions = self._purely(ask, found)
            known = questions.answer(partial(self._look_up, at=state.cursor))
            commit = self._purely(settle, found, questions, known)
            applied = self.store.commit(commit)
        except Conflict:
            applied = False
        if not applied:
            # Somebody else was first, or our earlier commit was applied and its answer lost: either way, read again.
            self._forget()
            report.lost_races += 1
            return
        self._remember(commit)
        before, after = state.counters, found.state.counters
        report.entries += len(reading.entries)
        report.commits += 1
        for name in ("folded", "duplicates", "capped", "dead"):
            setattr(report, name, getattr(report, name) + after[name] - before[name])
        self._state = found.state

    def _purely(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what touches no store: if that fails, or kills this process, the entries are to blame."""
        self._attempts.at_risk = True
        result = step(*args, **kwargs)
        self._attempts.at_risk = False
        return result

    def _within(self, entries: list[Entry]) -> list[Entry]:
        if self.stop_at is None:
            return entries
        last = entry_order(self.stop_at)
        return [entry for entry in entries if entry_order(entry.id) <= last]

    def _current(self) -> PartitionState:
        """The state at the stored cursor: what is remembered, if nobody else has moved it."""
        if self._state is None:
            self._state = self.store.load()
        return self._state

    def _forget(self) -> None:
        self._state = None
        self._marks = RememberedMarks()

    def _remember(self, commit: Commit) -> None:
        for name, marks in commit.new_marks.items():
            self._marks.add(name, marks)
        self._marks.forget(commit.expired_scopes)

    def _look_up(self, lookups: Sequence[Lookup], at: Cursor) -> dict[str, Mask]:
        """Which marks are set already: remembered, or asked for at the store."""
        asked = [lookup for lookup in lookups if not self._marks.holds(lookup)]
        seen = self.store.seen({name: marks for lookup in asked for name, marks in lookup.lookups().items()}, at)
        known = {lookup.name: lookup.known(seen) for lookup in asked}
        return known | {lookup.name: self._marks.known(lookup) for lookup in lookups if lookup.name not in known}

    @staticmethod
    def _adapted(count: int, entries: list[Entry]) -> int:
        """How many entries to read next: more where they are small, fewer where they are large."""
        if not entries:
            return count
        size = size_of(entries) // len(entries)
        return max(1, min(MAX_COUNT, 4 * count, BYTES_AT_ONCE // max(1, size)))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection inside: a step makes objects by the ten thousand that all die with it, without cycles.

    Looking for cycles among them would take a third of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def check_secret(store: PartitionStore, state: PartitionState) -> None:
    """Make sure that signatures can be verified: without the secret every entry would look forged.

    Raises:
        ConfigurationError: they cannot.
    """
    if state.signing is not None and not store.keyring.holds(state.signing):
        raise ConfigurationError(
            f"Partition {store.partition} is not folded: its log is signed under the secret with the fingerprint "
            f"{state.signing.fingerprint}, which TRIMTAB_SIGNING_SECRET does not hold.",
            field="signing_secret",
        )


def older_than_its_snapshot(store: PartitionStore) -> bool:
    """Whether the state was lost, or replaced by an older one: a snapshot is a copy of what the state was."""
    try:
        return store.peek().counters["entries"] < store.space("snapshot").peek().counters["entries"]
    except CorruptState:
        return False


def check_gap(store: PartitionStore, state: PartitionState) -> None:
    """Make sure that nothing the fold has not read was removed from the log.

    Raises:
        LogGap: it was.
    """
    try:
        _check_log(store, state)
    except LogGap:
        if not older_than_its_snapshot(store):
            raise
        raise LogGap(
            f"The state of partition {store.partition} is older than its snapshot, and the log does not reach back to "
            f"it: somebody deleted or replaced it. Run: trimtab rebuild {store.partition}"
        ) from None


def _check_log(store: PartitionStore, state: PartitionState) -> None:
    ends, cursor = store.ends(), entry_order(state.cursor.id)
    folded = state.counters["entries"] + state.counters["lost"]  # what a person has accepted as lost counts as read
    where = f"partition {store.partition}, folded up to {state.cursor.id}"
    way_out = f"then run: trimtab accept-loss {store.partition}"
    if ends.last_id == LOG_FULL:
        raise LogGap(
            f"The log of {where}, has an entry under the largest possible id, so nothing can follow it: find who wrote "
            f"that, {way_out}"
        )
    if entry_order(ends.last_id) < cursor or ends.entries_added < folded:
        raise LogGap(
            f"The log of {where}, ends at {ends.last_id}: it was deleted, or an older one restored. Bring the newer "
            f"one back, or decide to go on without it, {way_out}"
        )
    # A trim takes the oldest entries, so it took unread ones only if nothing that was read is left.
    nothing_read_is_left = ends.length == 0 or entry_order(ends.first_id) > cursor
    if entry_order(ends.deleted_id) > cursor or (nothing_read_is_left and ends.removed > folded):
        raise LogGap(
            f"Unread entries of {where}, were removed from the log: somebody else trims it or deletes from it. Find "
            f"who, {way_out}"
        )
