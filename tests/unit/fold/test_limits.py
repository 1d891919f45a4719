"""How many refused events are too many: a law against the plain definition, then the limits themselves (IN-03)."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.reporting import Check
from logs import Log, batch, event
from trimtab.fold.limits import LONGEST_RUN, MOST_REFUSED, WINDOW, Refusals

stretches = st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=12)


def by_definition(history: list[bool]) -> bool:
    """Over 5 % of the last thousand, or, before there are a thousand, a hundred in a row."""
    if len(history) >= WINDOW:
        return sum(history[-WINDOW:]) > MOST_REFUSED
    return max((len(list(run)) for bad, run in groupby(history) if bad), default=0) >= LONGEST_RUN


@settings(max_examples=200)
@given(stretches, st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_the_limits_are_the_definitions_however_the_events_were_read(
    parts: list[tuple[bool, int]], sizes: list[int]
) -> None:
    history = [bad for bad, n in parts for _ in range(n)]
    whole = Refusals().after(len(history), np.array(history, dtype=bool))
    pieces, place, turn = Refusals(), 0, 0
    while place < len(history):
        piece = np.array(history[place : place + sizes[turn % len(sizes)]], dtype=bool)
        pieces = pieces.after(len(piece), piece if piece.any() else None)
        place, turn = place + len(piece), turn + 1
    assert pieces == whole
    assert whole.excessive == by_definition(history)
    assert len(whole.newest) <= MOST_REFUSED + 1
    assert Refusals.parse(str(whole)) == whole


@pytest.mark.parametrize(
    ("good", "bad", "held"),
    [
        (950, 50, False),
        (949, 51, True),
        (0, 99, False),
        (0, 100, True),
        (900, 99, False),  # a hundredth bad one would still be the 999th event: 10 % of no whole window, no long run
    ],
)
def test_five_percent_of_a_thousand_or_a_hundred_in_a_row(good: int, bad: int, held: bool) -> None:
    log = Log()
    log.columns(batch([event()] * good + [event(variant="stranger")] * bad))
    log.drain()
    assert log.state().refusals.excessive is held


def test_a_thousand_good_events_end_it() -> None:
    log = Log()
    log.columns(batch([event(variant="stranger")] * 100))
    log.drain()
    assert log.state().refusals.excessive
    log.columns(batch([event()] * 899))
    log.drain()
    assert log.state().refusals.excessive, "999 events are no whole window"
    log.columns(batch([event()] * 51))
    log.drain()
    assert not log.state().refusals.excessive


def test_a_person_who_resumes_ends_it() -> None:
    log = Log()
    log.columns(batch([event(variant="stranger")] * 100))
    log.control.hold("checkout", reason="the producer is being repaired")
    log.drain()
    assert log.state().refusals.excessive
    log.control.resume("checkout", reason="it is repaired")
    log.drain()
    assert not log.state().refusals.excessive


def test_what_comes_before_the_start_and_of_strangers_says_nothing() -> None:
    log = Log()
    log.control.create({"id": "draft", "variants": [{"id": "a"}], "metrics": [{"name": "m", "kind": "binary"}]})
    for experiment_id in ("draft", "nowhere"):
        for _ in range(LONGEST_RUN):
            log.row(event(experiment_id=experiment_id))
    log.drain()
    draft = log.store.load_experiments(["draft"])["draft"]
    assert draft is not None
    assert draft.refusals == Refusals()
    assert log.state().refusals == Refusals()
    assert log.store.load().counters["dead:unknown_experiment"] == LONGEST_RUN


def test_entries_that_cannot_be_read_count_against_the_experiment_they_name() -> None:
    log = Log()
    for place in range(LONGEST_RUN):
        log.row(event(metrics={"converted": "much"}) if place % 2 else event(variant="stranger"))
    log.drain()
    assert log.state().refusals.run == LONGEST_RUN
    assert log.state().counters["dead:invalid_value"] == LONGEST_RUN // 2


def test_a_repeated_id_that_says_something_else_is_a_conflict_and_the_first_wins(check: Check) -> None:
    """EO-14, in one batch: the repetition that says the same is a duplicate and nothing more."""
    log = Log()
    first = event(event_id="e", metrics={"converted": 1})
    others = [event(event_id="e", metrics={"converted": 0}), event(event_id="e", variant="control")]
    log.columns(batch([first, first, *others, event(event_id="other")]))
    log.drain()
    counters = log.state().counters
    assert (counters["folded"], counters["duplicates"]) == (2, 3)
    assert log.cell("b") == (2, 2, 2)
    check("EO-14", "the first counted 1, the others 0, 2 conflicts",
          f"the first counted {log.cell('b').total - 1}, the others {log.cell('control').n}, "
          f"{counters['conflicts']} conflicts")  # fmt: skip
