"""Each event at its place of the log: under the definition, status, epoch and clock in force there, or refused.

Nothing here depends on dedupe marks, so one look-up of all marks can follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from trimtab.fold.accept import accept
from trimtab.fold.commit import Cursor, Entry, size_of
from trimtab.fold.decode import Batch, Control, Item, Reading, Refused, Rows, letter
from trimtab.fold.findings import Findings
from trimtab.fold.orders import carry_out
from trimtab.fold.state import OPEN, ExperimentState, PartitionState, Producer
from trimtab.fold.table import GatheredRows, Mask, Table, table_of_batch, table_of_rows
from trimtab.schema.control import Compaction, Define, EpochStart, StatusChange
from trimtab.schema.dead_letter import DeadLetter, DeadLetterCode
from trimtab.schema.signing import NO_KEYS, Keyring, Verifier

DAY = 86_400_000
HORIZON = 2 * DAY
"""Milliseconds for which duplicates are recognised and after which an event is too late: one figure, no gap."""

FUTURE_TOLERANCE = 5 * 60_000
"""How far a producer's clock may run ahead of the log's."""

CLOCK_STEP = 2 * DAY
"""The furthest one entry's id may move the log's clock. Anyone who may write can forge an id; only a control entry,
which carries its own instant, moves the clock further."""


def mentioned(reading: Reading) -> set[str]:
    """Ids of all experiments that the entries speak of: their states must be loaded before `survey`."""
    names: set[str] = set()
    for item in reading.items:
        match item:
            case Rows(events=events):
                names.update([event["experiment_id"] for event in events])
            case Batch(batch=batch):
                names.add(batch.experiment_id)
            case Control(order=Define(experiment=experiment)):
                names.add(experiment.id)
            case Refused(letter=DeadLetter(experiment_id=str(name))):
                names.add(name)
            case Control(order=EpochStart() | StatusChange() | Compaction() as order):
                names.add(order.experiment_id)
    return names


def survey(start: PartitionState, reading: Reading, keyring: Keyring = NO_KEYS) -> Findings:
    """Walk the entries in order; `start` is left as it is, the findings hold the state after them.

    `keyring` holds the secret that `start.signing` speaks of, if it speaks of one.
    """
    moved = replace(
        start,
        counters=start.counters.copy(),
        experiments=dict(start.experiments),
        producers=dict(start.producers),
        scopes=dict(start.scopes),
    )
    walk = _Walk(Findings(state=moved, start=start), keyring)
    for item in reading.items:
        walk.step(item)
    walk.flush()
    if reading.entries:
        moved.cursor = Cursor(start.cursor.run, reading.entries[-1].id)
    # What is not defined is asked for again the next time it is named: names come from outside, without end.
    moved.experiments = {name: known for name, known in moved.experiments.items() if known is not None}
    moved.counters["entries"] += len(reading.entries)
    moved.counters["bytes"] += size_of(reading.entries)
    return walk.found


class _Walk:
    """The walk over the log; rows are gathered until something of their experiment's state may change."""

    def __init__(self, found: Findings, keyring: Keyring) -> None:
        self.found = found
        rules = found.start.signing  # an entry that changes them is read alone
        self.verifier = keyring.verifier(rules) if rules else None
        self.rows: dict[str, GatheredRows] = {}

    def step(self, item: Item) -> None:
        state = self.found.state
        if self.verifier is not None:
            authentic = self._authentic(self.verifier, item)
            if authentic is None:
                return
            item = authentic
        match item:
            case Rows():
                self._gather(item)
            case Batch():
                _advance_clock(state, item.entry.milliseconds)
                self.flush()
                if self._in_sequence(item):
                    self._accept(table_of_batch(item, state.clock))
            case Control() if item.order.at > item.entry.milliseconds + FUTURE_TOLERANCE:
                detail = "its instant is more than 5 min ahead of the entry's own"
                self._refuse(letter(item.entry, DeadLetterCode.FUTURE, detail))
            case Control():
                # It may set the clock forward by any time that its entry's id agrees with: logs are quiet for weeks.
                state.clock = max(state.clock, item.order.at)
                self.flush()
                refusal = carry_out(self.found, item)
                if refusal is not None:
                    self._refuse(refusal)
            case Refused():
                _advance_clock(state, item.entry.milliseconds)
                self._refuse(item.letter)
                self._note_unreadable(item.letter)

    def _authentic(self, verifier: Verifier, item: Item) -> Item | None:
        """What of the item the rules admit; None for nothing. The rest leaves, and does not even move the clock."""
        if isinstance(item, Rows):
            objections = [verifier.objection(entry.fields) for entry in item.entries]
            if not any(objections):
                return item
            good = Rows([], [])
            for entry, event, objection in zip(item.entries, item.events, objections, strict=True):
                if objection is None:
                    good.entries.append(entry)
                    good.events.append(event)
                else:
                    self._gather(good)
                    good = Rows([], [])
                    self._refuse_forged(entry, objection, event["experiment_id"])
            return good
        objection = verifier.objection(item.entry.fields, order=isinstance(item, Control))
        if objection is None:
            return item
        match item:
            case Batch(batch=batch):
                self._refuse_forged(item.entry, objection, batch.experiment_id, batch.n)
            case Refused(letter=refusal):
                self._refuse_forged(item.entry, objection, refusal.experiment_id, refusal.n)
            case Control():
                self._refuse_forged(item.entry, objection)
        return None

    def _refuse_forged(self, entry: Entry, objection: str, experiment_id: str | None = None, n: int = 1) -> None:
        # Not tallied: whoever has no key must not be able to hold an experiment's weights.
        self.found.state.forged_at = entry.milliseconds
        self._refuse(letter(entry, DeadLetterCode.AUTH, objection, n=n, experiment_id=experiment_id))

    def flush(self) -> None:
        """Turn the gathered rows into tables; order within an experiment is the log's."""
        for gathered in self.rows.values():
            self._accept(table_of_rows(gathered), gathered.unreadable)
        self.rows.clear()

    def _gather(self, rows: Rows) -> None:
        """Keep rows, with the log's clock at their places; a table is of one origin, and tables are in log order."""
        written_at = [entry.milliseconds for entry in rows.entries]
        clocks = _advance_clock_along(self.found.state, written_at)
        for row in zip(rows.events, rows.entries, written_at, clocks, strict=True):
            name, origin = row[0]["experiment_id"], row[0].get("origin", "live")
            gathered = self.rows.get(name)
            if gathered is None or gathered.origin != origin:
                if gathered is not None:
                    self._accept(table_of_rows(gathered), gathered.unreadable)
                gathered = self.rows[name] = GatheredRows(name, origin, [], [])
            gathered.rows.append(row)

    def _accept(self, table: Table, unreadable: Sequence[int] = ()) -> None:
        owner = self.found.own(table.experiment_id)
        if owner is None:
            detail = f"no experiment {table.experiment_id!r} is defined in this partition's log"
            for entry, n in _events_per_entry(table):
                self._refuse(
                    letter(entry, DeadLetterCode.UNKNOWN_EXPERIMENT, detail, n=n, experiment_id=table.experiment_id)
                )
            return
        forged = self._forged(table) if owner.definition.exposure_tokens else None
        verdict = accept(table, owner, horizon=HORIZON, tolerance=FUTURE_TOLERANCE, forged=forged)
        if verdict.accepted.n:
            self.found.accepted.setdefault(table.experiment_id, []).append(verdict.accepted)
        for refusal in verdict.letters:
            self._refuse(refusal)
        refused = verdict.refused
        if refused is None and not unreadable:
            self._tally(owner, table.n, None)
            return
        refused = np.insert(np.zeros(table.n, dtype=np.bool_) if refused is None else refused, unreadable, True)
        if forged is not None:
            refused = refused[~np.insert(forged, unreadable, False)]
        self._tally(owner, len(refused), refused)

    def _forged(self, table: Table) -> Mask:
        """Rows without a token for just their exposure."""
        verifier, tokens, units = self.verifier, table.tokens, table.unit_ids
        if verifier is None or tokens is None or units is None:
            return np.ones(table.n, dtype=np.bool_)
        names = np.array([*table.variants, ""], dtype=object)  # the last is of rows whose place is none
        inside = (table.variant >= 0) & (table.variant < len(table.variants))
        variants = names[np.where(inside, table.variant, -1)].tolist()
        epochs = np.broadcast_to(table.epoch, (table.n,)).tolist()
        exposures = zip(tokens, zip(variants, epochs, strict=True), units, strict=True)
        return ~np.array(verifier.vouched(table.experiment_id, exposures))

    def _note_unreadable(self, refusal: DeadLetter) -> None:
        """Count an entry that cannot be read against the experiment it names, at its place among gathered rows."""
        owner = self.found.own(refusal.experiment_id) if refusal.experiment_id else None
        if owner is None:
            return
        gathered = self.rows.get(owner.definition.id)
        if gathered is None:
            self._tally(owner, refusal.n, np.ones(refusal.n, dtype=np.bool_))
        else:
            gathered.unreadable.extend([len(gathered.rows)] * refusal.n)

    @staticmethod
    def _tally(owner: ExperimentState, n: int, refused: Mask | None) -> None:
        if owner.status in OPEN:  # before the start and after the end every event is refused, which means nothing
            owner.refusals = owner.refusals.after(n, refused)

    def _refuse(self, refusal: DeadLetter) -> None:
        found = self.found
        found.letters.append(refusal)
        found.state.counters["dead"] += refusal.n
        owner = found.own(refusal.experiment_id) if refusal.experiment_id else None
        counters = found.state.counters if owner is None else owner.counters
        counters[f"dead:{refusal.code}"] += refusal.n

    def _in_sequence(self, item: Batch) -> bool:
        """Whether this batch has not come before; one that has is dropped, in whatever order they come.

        Those that it skips may come yet, or never: refused as forged, quarantined, lost with the end of a server's log.
        """
        batch, state = item.batch, self.found.state
        if batch.producer is None or batch.sequence is None:
            return self._in_time(item)
        known = state.producers.get(batch.producer)
        if known is None or known.forgotten_at(state.clock):
            known = Producer(0, 0)
        if known.has(batch.sequence):
            state.counters["duplicates"] += batch.n
            state.counters["duplicate_batches"] += 1
            return False
        # An import may be repeated after years, a publisher repeats itself only while its process lives. After days of
        # silence the log's clock is behind when the batch was sealed, and will leap over that time at once.
        sealed_at = max(state.clock, min(batch.sent_at, item.entry.milliseconds))
        forget_at = 0 if batch.origin == "import" else sealed_at + HORIZON + FUTURE_TOLERANCE
        after = known.after(batch.sequence, forget_at)
        if after is None:
            if self._in_time(item):
                self._refuse_batch(
                    item,
                    DeadLetterCode.SEQUENCE_GAP,
                    f"producer {batch.producer} sent batch {batch.sequence} after {known.sequence}, and of its batches "
                    f"before that too many are missing in {len(known.missing)} places",
                )
            return False
        # It has come even if it is refused below: sent again, it would be refused again.
        state.producers[batch.producer] = after
        self.found.numbered.add(batch.producer)
        # Counters only grow; their difference is what is missing still.
        state.counters["skipped_batches"] += max(0, after.n_missing - known.n_missing)
        state.counters["late_batches"] += batch.sequence < known.sequence
        return self._in_time(item)

    def _in_time(self, item: Batch) -> bool:
        """Whether the batch was sealed within the horizon: older ones may be of producers that were forgotten."""
        batch, clock = item.batch, self.found.state.clock
        latest = max(clock, item.entry.milliseconds)
        if batch.origin == "import" or clock - HORIZON <= batch.sent_at <= latest + FUTURE_TOLERANCE:
            return True
        late = batch.sent_at < clock
        code = DeadLetterCode.TOO_LATE if late else DeadLetterCode.FUTURE
        ahead = abs(batch.sent_at - clock) / 1000
        self._refuse_batch(item, code, f"sent_at is {ahead:.0f} s {'behind' if late else 'ahead of'} the log's clock")
        return False

    def _refuse_batch(self, item: Batch, code: DeadLetterCode, detail: str) -> None:
        name, n = item.batch.experiment_id, item.batch.n
        owner = self.found.own(name)
        self._refuse(letter(item.entry, code, detail, n=n, experiment_id=name if owner else None))
        if owner is not None:
            self._tally(owner, n, np.ones(n, dtype=np.bool_))


def _advance_clock(state: PartitionState, written_at: int) -> None:
    """The log's clock is the running maximum of plausible entry times, and of what control entries say.

    Whoever may append can choose an id, and the server gives those that follow the same milliseconds until its own time
    has passed them. So an entry that shares them with a forged one before it says nothing of the time.
    """
    if written_at <= state.clock or written_at == state.forged_at:
        return
    if written_at - state.clock <= CLOCK_STEP:
        state.clock = written_at
    else:
        state.counters["implausible_ids"] += 1


def _advance_clock_along(state: PartitionState, written_at: list[int]) -> list[int]:
    """Advance the clock by each of these times; where it stood after each."""
    clocks = []
    for at in written_at:
        if at != state.clock:
            _advance_clock(state, at)
        clocks.append(state.clock)
    return clocks


def _events_per_entry(table: Table) -> Iterable[tuple[Entry, int]]:
    return [(table.entries[0], table.n)] if len(table.entries) == 1 else [(entry, 1) for entry in table.entries]


