"""The fold's laws: what it holds depends on the log alone, not on how it was read, encoded or ordered."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from logs import NOW, Log, batch, event
from trimtab.fold import ask, decode, mentioned, settle, survey
from trimtab.ports import PartitionStore

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


def fold_in_pieces(store: PartitionStore, sizes: list[int]) -> dict[str, object]:
    """Fold the whole log, so many entries at a time; returns the state."""
    place = 0
    while True:
        state = store.load()
        entries = store.read(state.cursor.id, sizes[place % len(sizes)])
        if not entries:
            return store.dump()
        decoded = decode(entries)
        state.experiments |= store.load_experiments(sorted(mentioned(decoded)))
        found = survey(state, decoded)
        questions = ask(found)
        seen = store.seen({name: marks for scope in questions.scopes() for name, marks in scope.lookups().items()})
        assert store.commit(settle(found, questions, {scope.name: scope.known(seen) for scope in questions.scopes()}))
        place += 1


def write(log: Log, history: list[dict[str, Any]], cuts: list[bool]) -> None:
    """Write the events in order, as rows or, where `cuts` says so, as batches."""
    for place, one in enumerate(history):
        if cuts[place % len(cuts)]:
            log.columns(batch([one]))
        else:
            log.row(one)


@settings(max_examples=50)
@given(
    events,
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from(["unit", "event"]),
)
def test_state_does_not_depend_on_how_the_log_was_cut(
    history: list[dict[str, Any]], cuts: list[bool], sizes: list[int], unit: str
) -> None:
    """Reading one entry at a time, or all at once, or anything between, leaves the same state bit for bit."""
    log = Log(unit=unit)
    write(log, history, cuts)
    log.columns(batch(history))
    log.control.hold("checkout", reason="pause")
    write(log, history, cuts)
    whole = fold_in_pieces(log.store.space("whole"), [1000])
    assert fold_in_pieces(log.store.space("single"), [1]) == whole
    assert fold_in_pieces(log.store.space("pieces"), sizes) == whole


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
    """A batch holds what its events would have said one by one."""
    rows, columns = Log(), Log()
    for one in history:
        rows.row(one)
    columns.columns(batch(history))
    rows.drain()
    columns.drain()
    assert rows.state().fields() == columns.state().fields()


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
