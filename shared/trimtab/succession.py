"""What may follow a published state: the next epoch in the log, the next allocation, the write that brings it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.errors import Conflict
from trimtab.layout import initial_ranges, relayout
from trimtab.ports import EventLog, Publication, Published
from trimtab.schema.allocation import Allocation
from trimtab.schema.control import EpochStart
from trimtab.schema.decision import LedgerEntry
from trimtab.schema.event import MAX_EPOCH
from trimtab.schema.experiment import Experiment, Status

# Weights count as fresh for three missed recomputes, and never for less than a minute: a restart takes that long.
FRESH_PERIODS = 3
FRESH_AT_LEAST_MS = 60_000

# Where a new life of the server begins to number epochs: two for each second since this day. No shorter period than a
# second can be asked for, so no life reaches the numbers of the next, whichever copies came back in which order. The 31
# bits of a number last until 2059; some are left for lives that begin after, or under a clock that is far ahead.
EPOCHS_PER_SECOND = 2
EPOCHS_SINCE = 1_767_225_600_000  # 2026-01-01T00:00:00Z, milliseconds
LAST_BEGINNING = MAX_EPOCH - 2**26

FINAL = frozenset({Status.STOPPED, Status.CONCLUDED})
"""States whose weights are served for ever: nothing will renew them, so they do not grow stale."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to differ from the state published before; instants are milliseconds of the server's clock."""

    experiment: Experiment
    status: Status
    epoch: int
    parts: Mapping[str, int]
    reason: str
    now: int
    data_until: int
    changed_at: int | None
    halted: tuple[str, ...] = ()
    paused: str = ""
    claims: str | None = None  # None: as they were
    excused: tuple[str, ...] | None = None


def succeed(current: Published, change: Change, entry: LedgerEntry, *, repeats: int = 0) -> Publication:
    """The publication that turns `current` into what `change` says, explained by `entry`.

    `repeats` above 0 says that `entry` continues the run of the ledger's last entry, and takes its place.
    """
    before = current.allocation
    ranges = relayout(before.ranges, change.parts) if before else initial_ranges(change.parts)
    allocation = Allocation.seal(
        experiment_id=change.experiment.id,
        incarnation=current.incarnation,
        revision=current.revision + 1,
        epoch=change.epoch,
        weights=dict(change.parts),
        ranges=ranges,
        salt=change.experiment.salt,
        status=change.status,
        control=change.experiment.control,
        decision_id=entry.decision_id,
        computed_at=change.now,
        data_until=max(change.data_until, before.data_until if before else 0),
        valid_until=None if change.status in FINAL else change.now + fresh_milliseconds(change.experiment),
        reason=change.reason,
    )
    return Publication(
        experiment=change.experiment,
        status=change.status,
        expected_revision=current.revision,
        allocation=allocation,
        entry=entry,
        repeats=repeats,
        changed_at=change.changed_at,
        halted=change.halted,
        paused=change.paused,
        claims=current.claims if change.claims is None else change.claims,
        excused=current.excused if change.excused is None else change.excused,
        life=current.life,
        epochs_from=epochs_from(current, change.now),
        replaces=(current.decision_id, current.repeats) if repeats else None,
    )


def fresh_milliseconds(experiment: Experiment) -> int:
    """How long weights, or the data behind them, count as fresh."""
    return max(FRESH_AT_LEAST_MS, int(FRESH_PERIODS * experiment.recompute_seconds * 1000))


def redraft(current: Published, experiment: Experiment, now: int) -> Publication:
    """The publication that gives a draft another definition."""
    return Publication(
        experiment, Status.DRAFT, current.revision, allocation=None, life=current.life,
        epochs_from=epochs_from(current, now),
    )  # fmt: skip


def epochs_from(current: Published, now: int) -> int:
    """The least number for an epoch that follows `current`; `now` is the server's clock.

    A server that comes back older would give numbers out again, and outcomes of a lost epoch would count in the cells
    of another one, served with other weights. So each life goes on above all that earlier lives can have reached.
    """
    if not current.restored:
        return current.epochs_from
    reached = (now - EPOCHS_SINCE) * EPOCHS_PER_SECOND // 1000
    return max(current.epochs_from, min(reached, LAST_BEGINNING))


def announce_epoch(log: EventLog, current: Published, parts: Mapping[str, int], now: int) -> int:
    """Write the epoch that follows `current` to the log; returns its number.

    Raises:
        Conflict: somebody else was first, or the server is another since `current` was read.
    """
    experiment_id = current.experiment.id
    epoch = max(log.announced(experiment_id) + 1, epochs_from(current, now))
    entry = EpochStart(at=now, experiment_id=experiment_id, epoch=epoch, parts=dict(parts))
    if not log.announce(experiment_id, epoch, entry.model_dump_json().encode(), current.life):
        raise Conflict(
            f"Experiment {experiment_id!r} was not given epoch {epoch}: somebody else was first, or the data server is "
            "another by now. Read it and try again."
        )
    return epoch
