"""Caps on what one unit may add in an hour: exact, the same however the log is read, and without cost where unused."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import HOUR, NOW, Log, batch, event
from trimtab.adapters.memory import MemoryPartition
from trimtab.errors import ConfigurationError
from trimtab.fold.caps import slot_marks
from trimtab.fold.dedupe import SMALLEST_MARK, marks_of
from trimtab.schema.control import ClockTick, Define
from trimtab.schema.experiment import MOST_OUTCOMES_PER_UNIT_HOUR
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.rebuild import rebuild

outcomes = st.lists(
    st.builds(
        lambda who, which, hours, late: event(
            unit_id=f"unit-{who}",
            occurred_at=NOW - HOUR * hours - late,
            **({"event_id": f"event-{who}-{hours}-{late}-{which}"} if which else {}),
        ),
        st.integers(0, 3),
        st.none() | st.integers(0, 9),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=60,
)


def hour_of(one: dict[str, Any]) -> int:
    return int(one["occurred_at"] // HOUR)


def written(log: Log, history: list[dict[str, Any]], size: int) -> None:
    """The outcomes in turn as rows and as batches of `size`."""
    for start in range(0, len(history), size):
        piece = history[start : start + size]
        if start // size % 2:
            log.columns(batch(piece))
        else:
            for one in piece:
                log.row(one)


def folded_by(log: Log, count: int) -> dict[str, object]:
    """The state of a new space after folding the log `count` entries at a time, with nothing remembered."""
    assert isinstance(log.store, MemoryPartition)
    store = log.store.space(f"by-{count}")
    while True:
        fold = Ingest(store, watch_gaps=False)
        fold._count = count
        if not fold.step(DrainReport(), None):
            return store.dump()


def days_pass(log: Log) -> None:
    """Until all that was counted is beyond the horizon."""
    log.clock.now += 96 * HOUR
    log.store.append("control", ClockTick(at=log.clock.now).model_dump_json().encode())


@settings(max_examples=60)
@given(outcomes, st.integers(1, 12), st.integers(1, 9))
def test_of_each_unit_and_hour_as_many_count_as_the_cap_allows(
    history: list[dict[str, Any]], cap: int, size: int
) -> None:
    """min(N, distinct events); a repeated event is a duplicate and takes no slot; all are accounted for."""
    log = Log(max_outcomes_per_unit_hour=cap)
    written(log, history, size)
    log.drain()
    unnamed = [one for one in history if "event_id" not in one]
    distinct = [*{one["event_id"]: one for one in history if "event_id" in one}.values(), *unnamed]
    per_unit_hour = Counter((one["unit_id"], hour_of(one)) for one in distinct)
    expected = sum(min(cap, n) for n in per_unit_hour.values())
    counters = log.state().counters
    assert sum(log.state().trials.values()) == counters["folded"] == expected
    assert (counters["duplicates"], counters["capped"]) == (len(history) - len(distinct), len(distinct) - expected)
    whole = log.store.load().counters
    assert (whole["folded"], whole["capped"], whole["dead"]) == (expected, counters["capped"], 0)


@settings(max_examples=60)
@given(outcomes, st.lists(st.none() | st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 9), st.booleans())
def test_the_state_is_the_logs_however_it_was_read_and_the_cap_was_changed(
    history: list[dict[str, Any]], caps: list[int | None], size: int, quiet: bool
) -> None:
    """Caps are raised, lowered, taken away and set again between outcomes; days may pass and marks be forgotten."""
    log = Log(max_outcomes_per_unit_hour=caps[0])
    share = -(-len(history) // len(caps))
    for place, cap in enumerate(caps):
        if place:
            log.control.update("checkout", {"max_outcomes_per_unit_hour": cap})
        written(log, history[place * share : (place + 1) * share], size)
    if quiet:
        days_pass(log)
        log.row(event(unit_id="late", occurred_at=log.clock.now))
    log.drain()
    assert folded_by(log, 1) == folded_by(log, 3) == folded_by(log, 1000) == log.store.dump()
    assert rebuild(log.store, verify=True).identical


def test_the_first_to_come_count_and_what_they_said() -> None:
    log = Log(max_outcomes_per_unit_hour=3)
    for amount in (1, 2, 4, 8, 16):
        log.row(event(unit_id="u", metrics={"converted": 1, "amount": amount}))
    log.drain()
    assert (log.cell("b").n, log.cell("b", "amount").total) == (3, 7_000_000)


def test_a_new_hour_brings_new_slots_and_a_late_outcome_is_of_its_own_hour() -> None:
    log = Log(max_outcomes_per_unit_hour=2)
    last_of_hour = NOW - NOW % HOUR - 1
    for at in (last_of_hour, last_of_hour + 1, last_of_hour, last_of_hour + 1, last_of_hour, last_of_hour + 1):
        log.row(event(unit_id="u", occurred_at=at))
        log.drain()
    assert (log.cell("b").n, log.state().counters["capped"]) == (4, 2)


def test_a_lowered_cap_counts_what_is_taken_and_a_raised_one_gives_more() -> None:
    log = Log(max_outcomes_per_unit_hour=3)
    counted = []
    for cap in (3, 2, 5, None):
        log.control.update("checkout", {"max_outcomes_per_unit_hour": cap})
        log.columns(batch([event(unit_id="u")] * 10 if cap else [event()] * 10))
        log.drain()
        counted.append(log.cell("b").n)
    assert counted == [3, 3, 5, 15]


def test_under_a_cap_an_outcome_names_its_unit_and_an_import_need_not() -> None:
    log = Log(max_outcomes_per_unit_hour=1)
    log.row(event())
    for _ in range(5):
        log.row(event(unit_id="u", origin="import"))
        log.row(event(origin="import"))
    log.drain()
    assert (log.dead_codes(), log.cell("b").n, log.state().counters["capped"]) == (["missing_unit"], 10, 0)


def test_what_is_capped_is_no_dead_letter_so_nobody_can_hold_weights_by_stuffing() -> None:
    log = Log(max_outcomes_per_unit_hour=1)
    log.columns(batch([event(unit_id="bot")] * 5000))
    log.drain()
    assert (log.state().refusals.excessive, log.dead_codes()) == (False, [])


def test_slots_are_forgotten_with_their_hour_and_all_with_the_experiment() -> None:
    log = Log(max_outcomes_per_unit_hour=10)
    log.columns(batch([event(unit_id=f"u{n % 100}") for n in range(2000)]))
    log.drain()
    assert list(log.store.load().scopes.values()) == [1000], "one mark for each slot taken"
    days_pass(log)
    log.row(event(unit_id="u", occurred_at=log.clock.now))
    log.drain()
    assert list(log.store.load().scopes.values()) == [1]
    log.control.stop("checkout")
    log.drain()
    assert log.store.load().scopes == {}


def test_without_a_cap_nothing_is_marked() -> None:
    log = Log()
    log.columns(batch([event(unit_id="u")] * 100))
    log.drain()
    assert (log.store.load().scopes, log.cell("b").n) == ({}, 100)


def test_slots_of_many_units_are_marks_of_their_own_spread_evenly() -> None:
    """No two collide, all have 19 digits, and each residue of 8ᴸ, by which sets are chosen, has its share ±20 %."""
    rng = random.Random(3)
    units = np.repeat(marks_of(f"unit-{rng.random()}" for _ in range(500)), MOST_OUTCOMES_PER_UNIT_HOUR)
    slots = np.tile(np.arange(MOST_OUTCOMES_PER_UNIT_HOUR), 500)
    marks = slot_marks(units, slots)
    assert len(np.unique(marks)) == 50_000
    assert marks.min() >= SMALLEST_MARK
    assert marks.max() < 9 * SMALLEST_MARK
    for sets in (8, 64):
        shares = np.bincount(marks % sets, minlength=sets) * sets / 50_000
        assert np.abs(shares - 1).max() < 0.2


def test_an_order_that_lost_its_race_cannot_cap_units_that_count_once() -> None:
    """It was to change a draft, and came into the log after the start: the state must stay one that can be read."""
    log = Log(unit="unit")
    late = log.control.show("checkout").experiment.model_copy(update={"unit": "event", "max_outcomes_per_unit_hour": 3})
    log.store.append("control", Define(at=log.clock.now, experiment=late).model_dump_json().encode())
    log.drain()
    kept = log.state().definition
    assert (kept.unit, kept.max_outcomes_per_unit_hour) == ("unit", None)


def test_a_cap_beside_units_that_count_once_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="each unit counts once anyway"):
        Log(unit="unit", max_outcomes_per_unit_hour=3)
    for cap in (0, 101, 2.5):
        with pytest.raises(ConfigurationError, match="max_outcomes_per_unit_hour"):
            Log(max_outcomes_per_unit_hour=cap)
