"""The fold's laws: what it holds depends on the log alone, not on how it was read, encoded or ordered."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from logs import HOUR, NOW, Log, batch, event
from trimtab.fold import ask, decode, mentioned, settle, survey
from trimtab.fold.dedupe import Lookup, Mask
from trimtab.ports import PartitionStore
from trimtab.schema.control import ClockTick, Compaction, ControlEntry, EpochStart, StatusChange
from trimtab.schema.experiment import Status

events = st.lists(
    st.builds(
        lambda variant, converted, amount, who, which: event(
            variant=variant,
            metrics={"converted": converted} | ({"amount": amount} if amount is not None else {}),
            unit_id=f"unit-{who}",
            event_id=f"event-{which}",
            occurred_at=NOW - 290_000 * which,  # an event keeps its instant, however often it is sent
        ),
        st.sampled_from(["control", "b"]),
        st.integers(0, 1),
        st.none() | st.floats(0, 150),
        st.integers(0, 30),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=60,
)


def look_up(store: PartitionStore, lookups: Sequence[Lookup]) -> dict[str, Mask]:
    """Which marks are set, with nothing remembered."""
    seen = store.seen({name: marks for lookup in lookups for name, marks in lookup.lookups().items()})
    return {lookup.name: lookup.known(seen) for lookup in lookups}


def fold_in_pieces(store: PartitionStore, sizes: list[int]) -> dict[str, object]:
    """Fold the whole log, so many entries at a time; returns the state."""
    place = 0
    while True:
        state = store.load()
        entries = store.read(state.cursor.id, sizes[place % len(sizes)])
        if not entries:
            return store.dump()
        reading = decode(entries)
        state.experiments |= store.load_experiments(sorted(mentioned(reading)))
        found = survey(state, reading)
        questions = ask(found)
        assert store.commit(settle(found, questions, questions.answer(partial(look_up, store))))
        place += 1


@dataclass
class Story:
    """A log being written by random steps: outcomes in all forms, orders, new epochs, compactions, quiet days."""

    log: Log
    sequences: Counter[str] = field(default_factory=Counter)
    epoch: int = 1

    def row(self, one: dict[str, Any]) -> None:
        self.log.row(self._now(one))

    def columns(self, one: dict[str, Any]) -> None:
        self.log.columns(batch([self._now(one)], sent_at=self.log.clock.now))

    def without_ids(self, one: dict[str, Any]) -> None:
        plain = {name: value for name, value in self._now(one).items() if name not in ("unit_id", "event_id")}
        self.log.columns(batch([plain], sent_at=self.log.clock.now))

    def imported(self, one: dict[str, Any]) -> None:
        self.log.row({**self._now(one), "origin": "import"})

    def numbered(self, one: dict[str, Any]) -> None:
        producer = one["unit_id"]
        self.sequences[producer] += 1
        again = self.sequences[producer] - one["metrics"]["converted"]  # some come twice
        sealed = {"producer": producer, "sequence": max(1, again), "sent_at": self.log.clock.now}
        self.log.columns(batch([self._now(one)], **sealed))

    def refused(self, one: dict[str, Any]) -> None:
        """In a batch, in a row, and in a row that cannot be read but for whom it speaks of."""
        self.log.columns(batch([{**self._now(one), "variant": "stranger"}, self._now(one)], sent_at=self.log.clock.now))
        self.log.row({**self._now(one), "variant": "stranger"})
        self.log.row({**self._now(one), "metrics": {"converted": "much"}})

    def new_epoch(self, one: dict[str, Any]) -> None:
        self.epoch += 1
        parts = {"control": 1_000_000 - self.epoch, "b": self.epoch}
        start = EpochStart(at=self.log.clock.now, experiment_id="checkout", epoch=self.epoch, parts=parts)
        self.log.store.announce("checkout", self.epoch, start.model_dump_json().encode())

    def compact(self, one: dict[str, Any]) -> None:
        into = dict.fromkeys(range(2, self.epoch), 1)
        if into:
            self._write(Compaction(at=self.log.clock.now, experiment_id="checkout", into=into))

    def hours_pass(self, one: dict[str, Any]) -> None:
        self.log.clock.now += HOUR * 60 * one["metrics"]["converted"] + HOUR
        self._write(ClockTick(at=self.log.clock.now))

    def stop(self, one: dict[str, Any]) -> None:
        amount = one["metrics"].get("amount", 0)
        if amount > 130:  # not in every story, and some try to go on afterwards
            status = Status.STOPPED if amount > 140 else Status.HELD
            self._write(StatusChange(at=self.log.clock.now, experiment_id="checkout", status=status))

    def _write(self, entry: ControlEntry) -> None:
        self.log.store.append("control", entry.model_dump_json().encode())

    def _now(self, one: dict[str, Any]) -> dict[str, Any]:
        late = NOW - one["occurred_at"]
        epoch = 1 + late // 290_000 % self.epoch
        return {**one, "occurred_at": self.log.clock.now - late, "epoch": epoch if late % 3 else None}


STEPS = ["row", "columns", "without_ids", "imported", "numbered", "refused"]
STEPS += ["new_epoch", "compact", "hours_pass", "stop"]


@settings(max_examples=100)
@given(
    events,
    st.lists(st.sampled_from(STEPS), min_size=5, max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from(["unit", "event"]),
)
def test_state_does_not_depend_on_how_the_log_was_cut(
    history: list[dict[str, Any]], steps: list[str], sizes: list[int], unit: str
) -> None:
    """Reading one entry at a time, or all at once, or anything between, leaves the same state bit for bit."""
    story = Story(Log(unit=unit))
    for place in range(2 * len(history)):
        getattr(story, steps[place % len(steps)])(history[place % len(history)])
    store = story.log.store
    whole = fold_in_pieces(store.space("whole"), [1000])
    assert fold_in_pieces(store.space("single"), [1]) == whole
    assert fold_in_pieces(store.space("pieces"), sizes) == whole


@settings(max_examples=50)
@given(events, st.randoms(use_true_random=False))
def test_cells_do_not_depend_on_the_order_of_events(history: list[dict[str, Any]], rng: random.Random) -> None:
    """Between control entries, the same events in any order give the same cells (ids aside: then the first wins)."""
    plain = [{k: v for k, v in one.items() if k not in ("event_id", "unit_id")} for one in history]
    shuffled = rng.sample(plain, len(plain))
    one, other = Log(), Log()
    for log, order in ((one, plain), (other, shuffled)):
        for document in order:
            log.row(document)
        log.drain()
    assert one.state().fields() == other.state().fields()


@settings(max_examples=50)
@given(events)
def test_rows_and_columns_count_the_same(history: list[dict[str, Any]]) -> None:
    """A batch holds what its events would have said one by one; only in a batch are repetitions compared."""
    rows, columns = Log(), Log()
    for one in history:
        rows.row(one)
    columns.columns(batch(history))
    rows.drain()
    columns.drain()
    assert rows.state().fields() == {k: v for k, v in columns.state().fields().items() if k != "count:conflicts"}


@settings(max_examples=50)
@given(events, st.lists(st.integers(0, 59), max_size=40))
def test_an_event_id_counts_once_however_often_it_is_sent(history: list[dict[str, Any]], again: list[int]) -> None:
    """Whatever is repeated, in rows or batches, every event id is counted exactly once: the first that came."""
    log = Log()
    sent = history + [history[place % len(history)] for place in again]
    for one in sent[::2]:
        log.row(one)
    log.columns(batch(sent))
    log.drain()
    assert sum(log.state().trials.values()) == len({one["event_id"] for one in sent})


@settings(max_examples=50)
@given(events)
def test_a_unit_counts_once_where_units_are_counted(history: list[dict[str, Any]]) -> None:
    """With `unit: unit`, each unit that has a counted event is one trial."""
    log = Log(unit="unit")
    for one in history:
        log.row(one)
    log.drain()
    first_of_id = {one["event_id"]: one for one in reversed(history)}
    assert sum(log.state().trials.values()) == len({one["unit_id"] for one in first_of_id.values()})
