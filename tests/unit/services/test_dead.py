"""Letters go back to the log once their cause is removed: exactly what was refused, and exactly once (IN-09)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.reporting import Check
from logs import HOUR, Log, batch, event
from trimtab.errors import NotFound
from trimtab.fold.decode import as_ranges
from trimtab.fold.state import MOST_RANGES
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab_worker.services.dead import Redriven, Wanted, browse, find, places, redrive


def all_back(log: Log, **wanted: Any) -> Redriven:
    ids = [filed.id for filed in browse(log.store, Wanted(**wanted))]
    return redrive(log.store, reversed(ids))


@given(st.sets(st.integers(0, 300), min_size=1))
def test_ranges_name_the_places_they_were_made_of(rows: set[int]) -> None:
    assert list(places(as_ranges(sorted(rows)))) == sorted(rows)


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["control", "b", "late-comer"]), min_size=1, max_size=40),
    st.sampled_from(["rows", "columns", "numbered"]),
    st.booleans(),
)
def test_after_the_fix_the_state_is_as_if_nothing_had_been_refused(
    variants: list[str], form: str, trimmed: bool
) -> None:
    """IN-09, as a law: counts exact, none twice, a second redrive moves nothing; also from letters alone."""
    log = Log()
    history = [event(variant=v, metrics={"converted": place % 2}) for place, v in enumerate(variants)]
    for one in history if form == "rows" else ():
        log.row(one)
    if form != "rows":
        log.columns(batch(history, **({"producer": "p", "sequence": 1} if form == "numbered" else {})))
    log.drain()
    refused = variants.count("late-comer")
    assert log.state().counters["dead:unknown_variant"] == refused
    log.control.add_variant("checkout", "late-comer")
    log.drain()
    if trimmed:
        log.store.trim(log.store.ends().last_id)
    done = all_back(log)
    assert (done.events, done.stayed) == (refused, {})
    assert all_back(log) == Redriven()
    log.drain()
    for variant in ("control", "b", "late-comer"):
        mine = [place % 2 for place, v in enumerate(variants) if v == variant]
        assert log.cell(variant) == (len(mine), sum(mine), sum(mine))
    assert log.dead_codes() == []


def test_a_letter_goes_back_once_even_if_asked_twice() -> None:
    """Without ids nothing but the move itself keeps it from counting twice."""
    log = Log()
    log.row(event(variant="c"))
    log.drain()
    ((letter_id, _),) = browse(log.store, Wanted())
    log.control.add_variant("checkout", "c")
    assert redrive(log.store, [letter_id, letter_id]) == Redriven(letters=1, events=1, gone=1)
    log.drain()
    assert log.cell("c").n == 1
    with pytest.raises(NotFound, match="went back to the log"):
        find(log.store, letter_id)


def test_a_thousand_events_count_once_however_often_they_are_sent_back(check: Check) -> None:
    log = Log()
    for _ in range(600):
        log.row(event(variant="c"))
    log.columns(batch([event(variant="c" if place % 2 else "b") for place in range(800)]))
    log.drain()
    log.control.add_variant("checkout", "c")
    first, second = all_back(log), all_back(log)
    log.drain()
    third = all_back(log)
    back = [done.events for done in (first, second, third)]
    counted = log.cell("c").n, log.cell("b").n
    check("IN-09", "(1000, 400) counted, [1000, 0, 0] sent back", f"{counted} counted, {back} sent back")
    assert log.dead_codes() == []


def test_what_is_still_wrong_becomes_a_letter_again() -> None:
    log = Log()
    log.row(event(variant="c"))
    log.row(b"{nope")
    log.drain()
    assert all_back(log).letters == 2
    log.drain()
    assert sorted(log.dead_codes()) == ["not_json", "unknown_variant"]
    assert log.store.load().counters["folded"] == 0


def test_what_is_too_late_by_now_stays_uncounted() -> None:
    """Its mark, had it been counted meanwhile by another way, would be gone: counting it could count it twice."""
    log = Log()
    log.row(event(variant="c"))
    log.drain()
    log.control.add_variant("checkout", "c")
    log.clock.now += 49 * HOUR
    log.control.hold("checkout", reason="moves the log's clock")
    assert all_back(log).events == 1
    log.drain()
    assert log.dead_codes() == ["too_late"]
    assert all_back(log).stayed == {"they grow only later": 1}
    assert log.dead_codes() == ["too_late"]


def test_a_batch_out_of_turn_that_its_publisher_sent_again_counts_once() -> None:
    log = Log()
    most = 2 * MOST_RANGES + 3
    for sequence in (*range(1, most + 1, 2), *range(1, most + 1)):
        log.columns(batch([event()] * 10, producer="p", sequence=sequence))
    log.drain()
    assert log.dead_codes() == ["sequence_gap"]
    assert all_back(log).events == 10
    assert (log.drain().duplicates, log.cell("b").n) == (10, 10 * most)


def test_a_batch_cut_off_in_its_letter_waits_for_its_entry() -> None:
    log = Log()
    log.columns(batch([event(unit_id=f"{place:0300}", variant="c") for place in range(100)]))
    log.drain()
    log.control.add_variant("checkout", "c")
    log.drain()
    log.store.trim(log.store.ends().last_id)
    done = all_back(log)
    assert (done.letters, list(done.stayed.values())) == (0, [1])
    assert "trimmed" in next(iter(done.stayed))
    assert len(log.dead_codes()) == 1


def test_orders_and_strange_entries_are_not_sent_again() -> None:
    log = Log()
    log.store.append("control", b'{"kind": "clock"}')
    log.store.append("surprise", b"1")
    log.drain()
    assert sorted(all_back(log).stayed) == ["orders are given again, not sent again", "there is no event in them"]


def test_letters_are_found_by_code_and_experiment() -> None:
    log = Log()
    for _ in range(600):  # more than a page
        log.row(event(variant="c"))
    log.row(event(experiment_id="nowhere"))
    log.drain()
    assert len(list(browse(log.store, Wanted(DeadLetterCode.UNKNOWN_VARIANT)))) == 600
    assert len(list(browse(log.store, Wanted(experiment_id="nowhere")))) == 1
    assert list(browse(log.store, Wanted(DeadLetterCode.TOO_LATE))) == []
