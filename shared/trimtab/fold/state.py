"""The state that the fold keeps of a partition, and its form as hash fields: decimal strings, exact."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from trimtab.errors import CorruptState
from trimtab.fold.commit import LOG_START, Cursor
from trimtab.fold.limits import Refusals
from trimtab.schema.control import Signing
from trimtab.schema.experiment import Experiment, Status

OPEN = frozenset({Status.RUNNING, Status.HELD})
"""States in which outcomes are counted."""

CLOSED = frozenset({Status.STOPPED, Status.CONCLUDED})
"""States after which none ever are: an experiment does not open again."""


class Cell(NamedTuple):
    """Sums of one metric in one epoch × variant: Python integers of round-half-even(x·scale), never floats."""

    n: int = 0
    total: int = 0
    total_sq: int = 0

    def __add__(self, other: object) -> Cell:
        if not isinstance(other, Cell):
            return NotImplemented
        return Cell(self.n + other.n, self.total + other.total, self.total_sq + other.total_sq)


CellKey = tuple[int, str, str]  # epoch, variant, metric
TrialKey = tuple[int, str]  # epoch, variant


class EpochRecord(NamedTuple):
    """When an epoch began, in milliseconds, and the parts per million it served."""

    started_at: int
    parts: dict[str, int]


@dataclass(slots=True)
class ExperimentState:
    """What the log has said of one experiment so far."""

    definition: Experiment
    revision: int = 0  # the newest that a definition was written for
    status: Status = Status.DRAFT
    epochs: dict[int, EpochRecord] = field(default_factory=dict)  # in the order they came
    merged: dict[int, int] = field(default_factory=dict)  # compacted epoch → the epoch that took its cells
    entered: dict[str, int] = field(default_factory=dict)  # variant → the epoch in force when it was added
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    trials: dict[TrialKey, int] = field(default_factory=dict)
    stamped: dict[TrialKey, int] = field(default_factory=dict)  # those of live events that named their epoch
    counters: Counter[str] = field(default_factory=Counter)
    refusals: Refusals = field(default_factory=Refusals)

    @property
    def epoch_in_force(self) -> int | None:
        return next(reversed(self.epochs), None)

    def settled_epoch(self, epoch: int) -> int | None:
        """The epoch whose cells take events of `epoch`; None where the log never announced it."""
        return epoch if epoch in self.epochs else self.merged.get(epoch)

    def copy(self) -> Self:
        """A copy that can be changed without touching this one."""
        return replace(
            self,
            epochs=dict(self.epochs),
            merged=dict(self.merged),
            entered=dict(self.entered),
            cells=dict(self.cells),
            trials=dict(self.trials),
            stamped=dict(self.stamped),
            counters=Counter(self.counters),
        )

    def fields(self) -> dict[str, str]:
        """All of it as hash fields."""
        return {
            **self.head_fields(),
            **{cell_field(*key): cell_value(cell) for key, cell in self.cells.items()},
            **{trial_field(*key): str(n) for key, n in self.trials.items()},
            **{stamped_field(*key): str(n) for key, n in self.stamped.items()},
            **{counter_field(name): str(n) for name, n in self.counters.items() if n},
            "refusals": str(self.refusals),
        }

    def head_fields(self) -> dict[str, str]:
        """What control entries change: definition, status and epochs."""
        return {
            "definition": self.definition.model_dump_json(),
            "revision": str(self.revision),
            "status": self.status.value,
            **{epoch_field(epoch): json.dumps(record) for epoch, record in self.epochs.items()},
            "merged": json.dumps(list(self.merged.items())),
            "entered": json.dumps(self.entered),
        }

    @classmethod
    def parse(cls, experiment_id: str, fields: Mapping[str, str]) -> Self:
        """The state from its hash fields.

        Raises:
            CorruptState: a field is missing or is not what the fold writes.
        """
        try:
            state = cls(
                definition=Experiment.model_validate_json(fields["definition"]),
                revision=int(fields.get("revision", 0)),
                status=Status(fields["status"]),
                merged=dict(json.loads(fields["merged"])),
                entered=dict(json.loads(fields["entered"])),
            )
            for name, value in fields.items():
                state._read(name, value)
            state.epochs = dict(sorted(state.epochs.items()))
        except (KeyError, ValueError, TypeError) as error:
            raise CorruptState(
                f"The statistics of experiment {experiment_id!r} are not what the fold writes ({error}); "
                f"run: trimtab rebuild {experiment_id}"
            ) from error
        return state

    def _read(self, name: str, value: str) -> None:
        match name.split(":"):
            case ["epoch", epoch]:
                self.epochs[int(epoch)] = EpochRecord(*json.loads(value))
            case ["cell", epoch, variant, metric]:
                n, total, total_sq = value.split(" ")
                self.cells[int(epoch), variant, metric] = Cell(int(n), int(total), int(total_sq))
            case ["trials", epoch, variant]:
                self.trials[int(epoch), variant] = int(value)
            case ["stamped", epoch, variant]:
                self.stamped[int(epoch), variant] = int(value)
            case ["count", *rest]:
                self.counters[":".join(rest)] = int(value)
            case ["refusals"]:
                self.refusals = Refusals.parse(value)


def epoch_field(epoch: int) -> str:
    return f"epoch:{epoch}"


def cell_field(epoch: int, variant: str, metric: str) -> str:
    return f"cell:{epoch}:{variant}:{metric}"


def cell_value(cell: Cell) -> str:
    return f"{cell.n} {cell.total} {cell.total_sq}"


def trial_field(epoch: int, variant: str) -> str:
    return f"trials:{epoch}:{variant}"


def stamped_field(epoch: int, variant: str) -> str:
    return f"stamped:{epoch}:{variant}"


def counter_field(name: str) -> str:
    return f"count:{name}"


MOST_RANGES = 16
"""Ranges of numbers that are kept as missing of one publisher: one for each time that some of its batches were lost."""


class Producer(NamedTuple):
    """What the fold remembers of one publisher: which of its numbers have come, and until when it is remembered.

    Come have all up to `sequence` but those in `missing`, ranges that rise. `forget_at` is an instant of the log's
    clock, and 0 for producers that are never forgotten: an import may be started again after any time.
    """

    sequence: int
    forget_at: int
    missing: tuple[tuple[int, int], ...] = ()

    def has(self, number: int) -> bool:
        """Whether the batch of this number has come."""
        return number <= self.sequence and not any(first <= number <= last for first, last in self.missing)

    def after(self, number: int, forget_at: int) -> Self | None:
        """After a batch that had not come before; None where more ranges would be missing than are kept."""
        skipped = (self.sequence + 1, number - 1)
        ranges = [(first, min(last, number - 1)) for first, last in (*self.missing, skipped) if first < number]
        ranges += [(max(first, number + 1), last) for first, last in self.missing if last > number]
        missing = tuple((first, last) for first, last in ranges if first <= last)
        if len(missing) > MOST_RANGES:
            return None
        until = max(self.forget_at, forget_at) if forget_at else 0
        return self._replace(sequence=max(self.sequence, number), forget_at=until, missing=missing)

    @property
    def n_missing(self) -> int:
        return sum(last - first + 1 for first, last in self.missing)

    def forgotten_at(self, clock: int) -> bool:
        """Whether the log's clock has passed the time for which it is remembered."""
        return 0 < self.forget_at < clock

    def __str__(self) -> str:
        return " ".join([str(self.sequence), str(self.forget_at), *(f"{first}-{last}" for first, last in self.missing)])

    @classmethod
    def parse(cls, text: str) -> Self:
        sequence, forget_at, *ranges = text.split(" ")
        missing = [part.split("-") for part in ranges]
        return cls(int(sequence), int(forget_at), tuple((int(first), int(last)) for first, last in missing))


@dataclass(slots=True)
class PartitionState:
    """What the fold knows of one partition at `cursor`; `experiments` holds those loaded so far (None: not defined)."""

    cursor: Cursor = field(default_factory=Cursor)
    clock: int = 0
    counters: Counter[str] = field(default_factory=Counter)
    experiments: dict[str, ExperimentState | None] = field(default_factory=dict)
    producers: dict[str, Producer] = field(default_factory=dict)
    scopes: dict[str, int] = field(default_factory=dict)  # dedupe scope → how many marks it has
    quarantined: frozenset[str] = frozenset()  # ids of log entries that are not to be read, for they kill their reader
    signing: Signing | None = None  # which keys may sign; None: signatures are not looked at
    forged_at: int = 0  # by the id of the newest entry that the rules did not admit, in milliseconds

    def defined(self) -> Iterator[tuple[str, ExperimentState]]:
        return ((name, state) for name, state in self.experiments.items() if state is not None)

    def cur_fields(self) -> dict[str, str]:
        """The `cur` hash but for `run`, which a store sets when it creates the partition."""
        counters = {counter_field(name): str(n) for name, n in self.counters.items() if n}
        signing = {"signing": self.signing.model_dump_json()} if self.signing else {}
        forged = {"forged_at": str(self.forged_at)} if self.forged_at else {}
        return {"id": self.cursor.id, "clock": str(self.clock), **signing, **forged, **counters}

    @classmethod
    def parse(
        cls,
        partition: int,
        cur: Mapping[str, str],
        producers: Mapping[str, str],
        scopes: Mapping[str, str],
        quarantined: Iterable[str] = (),
    ) -> Self:
        """The state from the `cur`, `producers` and `seen` hashes; experiments are loaded when they are needed.

        Raises:
            CorruptState: a value is not what the fold writes.
        """
        prefix = counter_field("")
        cursor = Cursor(cur.get("run", ""), cur.get("id", LOG_START))
        try:
            _, _ = map(int, cursor.id.split("-"))
            counts = {name.removeprefix(prefix): int(n) for name, n in cur.items() if name.startswith(prefix)}
            return cls(
                cursor=cursor,
                clock=int(cur.get("clock", 0)),
                counters=Counter(counts),
                producers={name: Producer.parse(text) for name, text in producers.items()},
                scopes={scope: int(n) for scope, n in scopes.items()},
                quarantined=frozenset(quarantined),
                signing=Signing.model_validate_json(cur["signing"]) if "signing" in cur else None,
                forged_at=int(cur.get("forged_at", 0)),
            )
        except ValueError as error:
            raise CorruptState(
                f"The state of partition {partition} is not what the fold writes ({error}); "
                f"run: trimtab rebuild {partition}"
            ) from error
