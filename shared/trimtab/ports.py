"""What the services need from the outside: interfaces that Redis and the in-memory twin both serve.

One conformance suite holds both to these words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from trimtab.schema.allocation import Allocation
from trimtab.schema.dead_letter import DeadLetter
from trimtab.schema.decision import LedgerEntry
from trimtab.schema.experiment import Experiment, Status
from trimtab.schema.signing import Keyring

SCRATCH_MS = 3_600_000
"""How long a scratch space may live, in milliseconds: far longer than any rebuild takes."""

if TYPE_CHECKING:
    from trimtab.fold import Commit, Entry, ExperimentState, PartitionState
    from trimtab.fold.commit import Cursor, IdArray
    from trimtab.fold.dedupe import Mask


def entry_order(entry_id: str) -> tuple[int, int]:
    """A log entry's id as numbers that compare as the ids do."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """The two ends of a partition's log; ids are `0-0` where there is none."""

    length: int
    first_id: str
    last_id: str
    deleted_id: str  # the newest entry that was deleted singly; trimming does not show here
    entries_added: int  # ever, whether they are still there or not

    @property
    def removed(self) -> int:
        """How many entries were trimmed or deleted."""
        return self.entries_added - self.length


class FiledLetter(NamedTuple):
    """A dead letter and its id in the partition's stream of them."""

    id: str
    letter: DeadLetter


class DeadSize(NamedTuple):
    """What is kept of a partition's dead letters, and how many had to make room for newer ones."""

    letters: int = 0
    bytes: int = 0
    dropped: int = 0


class EventLog(Protocol):
    """The writing end of one partition's log; what it appends is signed with `keyring`, if that holds a secret."""

    partition: int
    keyring: Keyring

    def now(self) -> int:
        """The data server's clock in milliseconds: one clock for every process."""

    def append(self, field: str, payload: bytes) -> str:
        """Add one entry; returns its id. A full server refuses events, never control entries.

        Raises:
            ConfigurationError: the log demands a signature that this process cannot give.
        """

    def announce(self, experiment_id: str, epoch: int, payload: bytes, life: str = "") -> bool:
        """Add an epoch's control entry, unless this or a later epoch was announced before; False says so.

        `life` is the server's life in which the number was chosen: in another it may have been given out and lost, so
        that it is refused too. Empty: nobody knows.
        """

    def announced(self, experiment_id: str) -> int:
        """The last epoch announced for the experiment; 0 before the first."""


class PartitionStore(EventLog, Protocol):
    """One partition: its log and the state folded from it."""

    def read(self, after: str, count: int, block_ms: int | None = None) -> list[Entry]:
        """Up to `count` entries after the id `after`; waits up to `block_ms` for the first."""

    def ends(self) -> LogEnds:
        """Both ends of the log."""

    def trim(self, before: str) -> int:
        """Remove entries older than the id `before`; returns how many."""

    def load(self) -> PartitionState:
        """The state without its experiments; creates an empty one, with a fresh `run`, where there is none.

        Raises:
            CorruptState: something of it is not what the fold writes, or gone while the rest is there.
        """

    def stands(self) -> Cursor:
        """Where the state stands as it is written, also where it cannot be read; both parts empty where nothing is."""

    def peek(self) -> PartitionState:
        """Cursor, clock and counters alone, for whoever only looks: creates nothing, and writes nothing."""

    def counters(self, names: Iterable[str], wanted: Sequence[str]) -> dict[str, Counter[str]]:
        """The `wanted` counters of each named experiment, without the rest of its state."""

    def load_experiments(self, names: Iterable[str], at: Cursor | None = None) -> dict[str, ExperimentState | None]:
        """The state of each named experiment; None where the fold knows none.

        Raises:
            Conflict: they are not all of `at`: the state has moved since that was read.
        """

    def experiments(self) -> list[str]:
        """Ids of all experiments the fold knows, sorted."""

    def seen(self, lookups: Mapping[str, IdArray], at: Cursor | None = None) -> dict[str, Mask]:
        """For each set of marks asked for, which of the marks it holds; raises as `load_experiments` does."""

    def commit(self, commit: Commit) -> bool:
        """Apply all of `commit`, or nothing and return False if the cursor has moved."""

    def dead_letters(self, count: int) -> list[DeadLetter]:
        """The newest dead letters, newest first."""

    def letters(self, count: int, before: str = "") -> list[FiledLetter]:
        """Up to `count` dead letters with their ids, newest first; those older than the id `before`."""

    def letter(self, letter_id: str) -> DeadLetter | None:
        """One dead letter; None where there is none of this id (any more)."""

    def dead_size(self) -> DeadSize:
        """How much is kept of the dead letters."""

    def entry(self, entry_id: str) -> Entry | None:
        """One entry of the log; None where it was trimmed."""

    def redrive(self, letter_id: str, field: str, payload: bytes) -> bool:
        """Move a dead letter back to the log as an entry of this field, in one step; False if it is there no more.

        A full server refuses it, as it refuses events.
        """

    def space(self, name: str) -> PartitionStore:
        """The same partition with its state kept elsewhere: `snapshot`, a rebuild's; `` is the live one."""

    def scratch(self) -> PartitionStore:
        """A new space for the caller alone, to be cleared by it; those left for `SCRATCH_MS` are cleared here."""

    def copy_from(self, source: PartitionStore, over: Cursor | None = None) -> bool:
        """Replace this space's state by that of `source`, atomically; False if either moved meanwhile.

        The copy has a `run` of its own, so whoever remembers the state it replaced cannot commit to it. `over` is where
        this space must stand for that; default: where it stands now. What is here need not be readable.
        """

    def clear(self) -> None:
        """Remove this space's state, all at once."""

    def dump(self) -> dict[str, object]:
        """All of the state in one comparable form, without `run`."""

    def take_lease(self, holder: str, seconds: float) -> bool:
        """Take or renew the drain's lease; an economy, never a safety."""

    def leave_lease(self, holder: str) -> None:
        """Give the lease back, if `holder` still has it."""

    def renew_log(self, at: Cursor, behind: str = "") -> bool:
        """Delete the log, whose ids are used up, and go on from an empty one; False if the state is not `at` any more.

        With `behind`, the log is another one already: it stays, and the fold goes on behind this id of it. The state
        gets a `run` of its own, as a copy does.
        """

    def note_attempt(self, note: str, *, keep: bool = False) -> str:
        """Note what is tried, for whoever comes after a death; returns the note that was there, `""` for none.

        `keep` leaves a note that is there as it is.
        """

    def end_attempt(self) -> None:
        """Take the note away: nobody died."""

    def quarantine(self, entry_id: str, at: Cursor) -> bool:
        """Set a log entry aside for ever, as one that kills its reader; False if the state is not `at` any more.

        The state gets a `run` of its own, so whoever has read the entry cannot commit what it made of it.
        """

    def report_drain(self) -> None:
        """Note that a drain is alive now."""

    def drained_at(self) -> int | None:
        """When a drain last reported, in milliseconds of the server's clock; None: never."""


@dataclass(frozen=True, slots=True)
class Published:
    """The public side of one experiment as it stands."""

    experiment: Experiment
    status: Status
    revision: int = 0
    incarnation: str = ""  # of the next publication: a new one where the server has begun another life since the last
    allocation: Allocation | None = None
    decision_id: int = 0  # number of the last ledger entry
    repeats: int = 0  # how often that entry was repeated
    changed_at: int | None = None  # when a decision last changed weights
    halted: tuple[str, ...] = ()
    paused: str = ""  # why a person holds the weights
    claims: str = ""  # what sequential tests carry from look to look, JSON
    excused: tuple[str, ...] = ()  # variants that a person resumed, as long as the harm found in them is
    life: str = ""  # which life of the server this was read from; "" where it does not say
    restored: bool = False  # that life began since the last publication, so that newer ones may be lost
    epochs_from: int = 1  # the least number for a new epoch of this incarnation: lower ones may be lost with their log

    @property
    def parts(self) -> dict[str, int]:
        return dict(self.allocation.weights) if self.allocation else {}


@dataclass(frozen=True, slots=True)
class Publication:
    """One write of the public side, valid only while the revision is `expected_revision`."""

    experiment: Experiment
    status: Status
    expected_revision: int
    allocation: Allocation | None
    entry: LedgerEntry | None = None
    repeats: int = 0
    changed_at: int | None = None
    halted: tuple[str, ...] = ()
    paused: str = ""
    claims: str = ""
    excused: tuple[str, ...] = ()
    life: str = ""
    epochs_from: int = 1
    replaces: tuple[int, int] | None = field(default=None)  # (number, repeats) of the entry that `entry` continues


class PublicationStore(Protocol):
    """Definitions, allocations and ledgers."""

    def create_log(self, partitions: int) -> int:
        """Fix the number of partitions, unless it is fixed; returns the number in force."""

    def partitions(self) -> int | None:
        """How many partitions the log has; None before it is created."""

    def experiments(self) -> list[str]:
        """Ids of all experiments, sorted."""

    def read(self, experiment_id: str) -> Published | None:
        """The public side of an experiment; None if there is no such experiment."""

    def publish(self, publication: Publication) -> None:
        """Write definition, allocation and ledger entry in one step, and notify.

        Raises:
            Conflict: the revision is not the expected one, or newer outcomes are published already.
        """

    def ledger(self, experiment_id: str, count: int) -> list[LedgerEntry]:
        """The newest ledger entries, newest first."""

    def ledger_entry(self, experiment_id: str, number: int) -> LedgerEntry | None:
        """One ledger entry by its number."""

    def claim_tick(self, experiment_id: str, slot: int, seconds: float) -> bool:
        """Whether this is the first claim of a recompute slot: an economy for two beats."""
