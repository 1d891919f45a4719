"""The in-memory twin of every port: the reference that says what the Redis adapters must do, and the store of tests."""

from __future__ import annotations

import copy
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trimtab.clock import Clock, system_clock
from trimtab.errors import Conflict, CorruptState
from trimtab.fold import Commit, Entry, ExperimentState, PartitionState
from trimtab.fold.commit import LOG_START, Cursor, IdArray
from trimtab.fold.dedupe import Mask
from trimtab.fold.state import counter_field
from trimtab.ids import new_incarnation
from trimtab.ports import (
    SCRATCH_MS,
    DeadSize,
    FiledLetter,
    LogEnds,
    PartitionStore,
    Publication,
    PublicationStore,
    Published,
    entry_order,
)
from trimtab.schema.dead_letter import MAX_DEAD_BYTES, DeadLetter
from trimtab.schema.decision import LedgerEntry
from trimtab.schema.event import CONTROL_FIELD
from trimtab.schema.signing import NO_KEYS, Keyring, check_signature


@dataclass(slots=True)
class _State:
    """One space: the same hashes and sets that Redis holds."""

    cur: dict[str, str] = field(default_factory=dict)
    producers: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, str] = field(default_factory=dict)
    stats: dict[str, dict[str, str]] = field(default_factory=dict)
    marks: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    dead: list[FiledLetter] = field(default_factory=list)
    dead_bytes: int = 0
    filed: int = 0
    dropped: int = 0

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.cur.get("run", ""), self.cur.get("id", ""))


@dataclass(slots=True)
class _Partition:
    """What all spaces of a partition share."""

    entries: list[Entry] = field(default_factory=list)
    last_id: str = LOG_START
    added: int = 0
    epochs: dict[str, int] = field(default_factory=dict)
    spaces: dict[str, _State] = field(default_factory=lambda: defaultdict(_State))
    rebuilds: dict[str, int] = field(default_factory=dict)
    lease: tuple[str, float] = ("", 0.0)
    drained_at: int | None = None
    attempt: str = ""
    quarantined: set[str] = field(default_factory=set)
    life: str = ""  # stands for the server's process; empty: it does not say


class MemoryPartition(PartitionStore):
    """`PartitionStore` in this process; `clock` stands for the server's."""

    def __init__(self, partition: int = 0, clock: Clock = system_clock, keyring: Keyring = NO_KEYS) -> None:
        self.partition = partition
        self.keyring = keyring
        self._clock = clock
        self._all = _Partition()
        self._space = ""

    @property
    def _state(self) -> _State:
        return self._all.spaces[self._space]

    def now(self) -> int:
        return self._clock()

    def append(self, field: str, payload: bytes) -> str:
        return self.append_at(self._clock(), field, payload)

    def append_at(self, milliseconds: int, field: str, payload: bytes) -> str:
        """As `append`, with the instant of the entry's id given; ids never fall, as on a server."""
        rules = PartitionState.parse(self.partition, self._all.spaces[""].cur, {}, {}).signing
        check_signature(self.keyring, rules.model_dump_json() if rules else "")
        return self._append(_signed(self.keyring, field, payload), milliseconds)

    def _append(self, fields: dict[bytes, bytes], milliseconds: int) -> str:
        last_ms, last_number = entry_order(self._all.last_id)
        entry_id = f"{milliseconds}-0" if milliseconds > last_ms else f"{last_ms}-{last_number + 1}"
        self._all.entries.append(Entry(entry_id, fields))
        self._all.last_id = entry_id
        self._all.added += 1
        return entry_id

    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        if self.announced(experiment_id) >= epoch or (life and self._all.life not in ("", life)):
            return False
        self.append(CONTROL_FIELD, payload)
        self._all.epochs[experiment_id] = epoch
        return True

    def announced(self, experiment_id: str) -> int:
        return self._all.epochs.get(experiment_id, 0)

    def read(self, after: str, count: int, block_ms: int | None = None) -> list[Entry]:
        return [entry for entry in self._all.entries if entry_order(entry.id) > entry_order(after)][:count]

    def ends(self) -> LogEnds:
        everything = self._all
        first = everything.entries[0].id if everything.entries else LOG_START
        return LogEnds(len(everything.entries), first, everything.last_id, LOG_START, everything.added)

    def trim(self, before: str) -> int:
        old = [entry for entry in self._all.entries if entry_order(entry.id) < entry_order(before)]
        self._all.entries = self._all.entries[len(old) :]
        return len(old)

    def load(self) -> PartitionState:
        state = self._state
        if not state.cur and not (state.producers or state.scopes or state.stats):
            state.cur = {"run": secrets.token_hex(8), "id": LOG_START}
        if not {"run", "id"} <= state.cur.keys():
            raise CorruptState(
                f"The state of partition {self.partition} does not say where it stands; "
                f"run: trimtab rebuild {self.partition}"
            )
        return PartitionState.parse(self.partition, state.cur, state.producers, state.scopes, self._all.quarantined)

    def stands(self) -> Cursor:
        return self._state.cursor

    def peek(self) -> PartitionState:
        return PartitionState.parse(self.partition, self._state.cur, {}, {})

    def counters(self, names: Iterable[str], wanted: Sequence[str]) -> dict[str, Counter[str]]:
        stats = {name: self._state.stats.get(name, {}) for name in names}
        return {
            name: Counter({counter: int(fields.get(counter_field(counter), 0)) for counter in wanted})
            for name, fields in stats.items()
        }

    def load_experiments(self, names: Iterable[str], at: Cursor | None = None) -> dict[str, ExperimentState | None]:
        stats = self._state.stats
        self._check_still_at(at)
        return {name: ExperimentState.parse(name, stats[name]) if name in stats else None for name in names}

    def experiments(self) -> list[str]:
        return sorted(self._state.stats)

    def seen(self, lookups: Mapping[str, IdArray], at: Cursor | None = None) -> dict[str, Mask]:
        found = self._state.marks
        self._check_still_at(at)
        return {
            bucket: np.array([mark in found.get(bucket, ()) for mark in marks.tolist()], dtype=np.bool_)
            for bucket, marks in lookups.items()
        }

    def _check_still_at(self, at: Cursor | None) -> None:
        if at not in (None, self._state.cursor):
            raise Conflict(f"The state of partition {self.partition} moved on while it was read. Read it again.")

    def commit(self, commit: Commit) -> bool:
        state = self._state
        if state.cursor != commit.expected:
            return False
        state.cur |= commit.partition
        state.producers |= commit.producers
        state.scopes |= commit.scopes
        for name, fields in commit.experiments.items():
            state.stats.setdefault(name, {}).update(fields)
            for gone in commit.removed.get(name, ()):
                state.stats[name].pop(gone, None)
        for bucket, marks in commit.marks.items():
            state.marks[bucket] |= set(marks.tolist())
        for name in commit.forgotten:
            state.producers.pop(name, None)
        for scope in commit.expired_scopes:
            state.scopes.pop(scope, None)
        for bucket in commit.expired_buckets:
            state.marks.pop(bucket, None)
        for letter in commit.dead:
            state.filed += 1
            state.dead.append(FiledLetter(f"{state.filed}-0", letter))
            state.dead_bytes += _size(letter)
        while state.dead_bytes > MAX_DEAD_BYTES:
            state.dead_bytes -= _size(state.dead.pop(0).letter)
            state.dropped += 1
        return True

    def dead_letters(self, count: int) -> list[DeadLetter]:
        return [letter for _, letter in self.letters(count)]

    def letters(self, count: int, before: str = "") -> list[FiledLetter]:
        older = [filed for filed in self._state.dead if not before or entry_order(filed.id) < entry_order(before)]
        return older[: -count - 1 : -1]

    def letter(self, letter_id: str) -> DeadLetter | None:
        return next((letter for filed, letter in self._state.dead if filed == letter_id), None)

    def dead_size(self) -> DeadSize:
        state = self._state
        return DeadSize(len(state.dead), state.dead_bytes, state.dropped)

    def entry(self, entry_id: str) -> Entry | None:
        return next((entry for entry in self._all.entries if entry.id == entry_id), None)

    def redrive(self, letter_id: str, field: str, payload: bytes) -> bool:
        letter = self.letter(letter_id)
        if letter is None:
            return False
        self._state.dead_bytes -= _size(letter)
        self._state.dead = [filed for filed in self._state.dead if filed.id != letter_id]
        self._append(_signed(self.keyring, field, payload), self._clock())
        return True

    def space(self, name: str) -> MemoryPartition:
        other = copy.copy(self)
        other._space = name
        return other

    def scratch(self) -> MemoryPartition:
        now = self.now()
        for name in [name for name, began in self._all.rebuilds.items() if began <= now - SCRATCH_MS]:
            self.space(name).clear()
        space = self.space(f"rebuild-{secrets.token_hex(8)}")
        self._all.rebuilds[space._space] = now
        return space

    def copy_from(self, source: PartitionStore, over: Cursor | None = None) -> bool:
        if not isinstance(source, MemoryPartition):
            raise TypeError("a space is copied from a space of the same partition")
        read, over = source.load().cursor, over or self.stands()
        if (source._state.cursor, self._state.cursor) != (read, over):
            return False
        mine = self._state
        copied = self._all.spaces[self._space] = copy.deepcopy(source._state)
        copied.dead, copied.dead_bytes, copied.filed, copied.dropped = (
            mine.dead, mine.dead_bytes, mine.filed, mine.dropped,
        )  # fmt: skip
        self._state.cur["run"] = secrets.token_hex(8)
        return True

    def clear(self) -> None:
        self._all.spaces.pop(self._space, None)
        self._all.rebuilds.pop(self._space, None)

    def dump(self) -> dict[str, object]:
        state = self.load()
        return {
            "cur": state.cur_fields(),
            "producers": dict(sorted(self._state.producers.items())),
            "scopes": {scope: int(n) for scope, n in sorted(self._state.scopes.items())},
            **{f"stats:{name}": dict(sorted(fields.items())) for name, fields in sorted(self._state.stats.items())},
            **{f"seen:{bucket}": sorted(marks) for bucket, marks in sorted(self._state.marks.items()) if marks},
        }

    def take_lease(self, holder: str, seconds: float) -> bool:
        owner, until = self._all.lease
        now = time.monotonic()
        if owner not in ("", holder) and now < until:
            return False
        self._all.lease = (holder, now + seconds)
        return True

    def leave_lease(self, holder: str) -> None:
        if self._all.lease[0] == holder:
            self._all.lease = ("", 0.0)

    def renew_log(self, at: Cursor, behind: str = "") -> bool:
        if self._state.cursor != at:
            return False
        if not behind:
            self._all.entries, self._all.last_id, self._all.added = [], LOG_START, 0
        self._state.cur |= {"run": secrets.token_hex(8), "id": behind or LOG_START}
        return True

    def note_attempt(self, note: str, *, keep: bool = False) -> str:
        found = self._all.attempt
        self._all.attempt = found if found and keep else note
        return found

    def end_attempt(self) -> None:
        self._all.attempt = ""

    def quarantine(self, entry_id: str, at: Cursor) -> bool:
        if self._state.cursor != at:
            return False
        self._all.quarantined.add(entry_id)
        self._state.cur["run"] = secrets.token_hex(8)
        return True

    def report_drain(self) -> None:
        self._all.drained_at = self.now()

    def drained_at(self) -> int | None:
        return self._all.drained_at


def _signed(keyring: Keyring, field: str, payload: bytes) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in {field: payload, **keyring.sign(field, payload)}.items()}


def _size(letter: DeadLetter) -> int:
    return len(letter.model_dump_json().encode())


class MemoryPublications(PublicationStore):
    """`PublicationStore` in this process."""

    def __init__(self) -> None:
        self._partitions: int | None = None
        self._published: dict[str, Published] = {}
        self._ledgers: dict[str, list[LedgerEntry]] = {}
        self._ticks: set[tuple[str, int]] = set()
        self.life = "first"  # stands for the server's process; empty: it does not say

    def create_log(self, partitions: int) -> int:
        self._partitions = self._partitions or partitions
        return self._partitions

    def partitions(self) -> int | None:
        return self._partitions

    def experiments(self) -> list[str]:
        return sorted(self._published)

    def read(self, experiment_id: str) -> Published | None:
        found = self._published.get(experiment_id)
        if found is None:
            return None
        restored = found.life != self.life
        incarnation = new_incarnation() if restored else found.incarnation
        return replace(found, life=self.life, incarnation=incarnation, restored=restored)

    def publish(self, publication: Publication) -> None:
        name, allocation, entry = publication.experiment.id, publication.allocation, publication.entry
        current = self._published.get(name)
        stands = (current.revision if current else 0, self.life)
        if stands != (publication.expected_revision, publication.life or self.life):
            raise Conflict(f"Experiment {name!r} was not published: its revision moved on meanwhile.")
        before = current.allocation if current else None
        if allocation and before and allocation.data_until < before.data_until:
            raise Conflict(f"Experiment {name!r} was not published: newer outcomes are published already.")
        self._published[name] = Published(
            experiment=publication.experiment,
            status=publication.status,
            revision=publication.expected_revision + 1,
            incarnation=allocation.incarnation if allocation else new_incarnation(),
            allocation=allocation or before,
            decision_id=entry.decision_id if entry else 0,
            repeats=publication.repeats,
            changed_at=publication.changed_at,
            halted=publication.halted,
            paused=publication.paused,
            claims=publication.claims,
            excused=publication.excused,
            life=self.life,
            epochs_from=publication.epochs_from,
        )
        if entry:
            ledger = self._ledgers.setdefault(name, [])
            if publication.replaces:
                ledger.pop()
            ledger.append(entry)

    def ledger(self, experiment_id: str, count: int) -> list[LedgerEntry]:
        return self._ledgers.get(experiment_id, [])[: -count - 1 : -1]

    def ledger_entry(self, experiment_id: str, number: int) -> LedgerEntry | None:
        return next((e for e in self._ledgers.get(experiment_id, []) if e.decision_id == number), None)

    def claim_tick(self, experiment_id: str, slot: int, seconds: float) -> bool:
        fresh = (experiment_id, slot) not in self._ticks
        self._ticks.add((experiment_id, slot))
        return fresh
