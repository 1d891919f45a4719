"""What reading the server does to what is held: laws over any sequence of documents, times and failures."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import NOW, allocation, document
from trimtab.client._assignments import Assignment, Reason, answer, missing, table_of
from trimtab.client._holdings import (
    CLOCK_SLACK_MS,
    MAX_DOCUMENT_BYTES,
    FlagEventKind,
    Holdings,
    Reading,
    ServerClock,
    Terms,
    judged,
)

GRACE_MS = 1000
MINUTES_10 = 600_000
EMPTY = missing(Reason.NOT_READY)


def holding(*documents: bytes, server_ms: int | None = NOW, at: float = 0.0, **terms: Any) -> Holdings:
    """What is held after these documents, all read at `at` seconds of the monotonic clock."""
    held = Holdings(Terms(**({"grace_ms": GRACE_MS, "on_stale": "serve"} | terms)))
    for raw in documents:
        held = read(held, raw, server_ms, at)
    return held


def read(held: Holdings, found: bytes | Exception | None, server_ms: int | None = None, at: float = 0.0) -> Holdings:
    return held.after(Reading({"checkout": found}, server_ms), at)[0]


def ask(held: Holdings, at: float = 0.0, default: str | None = None) -> Assignment:
    return answer(held.tables["checkout"], "user-1", default, at)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(1, 4)), max_size=12))
def test_within_an_incarnation_only_higher_revisions_are_accepted(documents: list[tuple[str, int]]) -> None:
    """FC-05, FC-04: never backwards within an incarnation, and every new document is counted once."""
    table, total, repeats = EMPTY, 0, 0
    for incarnation, revision in documents:
        before = table.allocation
        table, counts, _ = judged("checkout", table, document(revision, incarnation=incarnation))
        after = table.allocation
        assert after is not None
        if before is not None and after.incarnation == before.incarnation:
            assert after.revision == max(before.revision, revision if incarnation == before.incarnation else 0)
        assert counts.get("new_incarnations", 0) == int(before is not None and before.incarnation != incarnation)
        total += counts.get("accepted", 0) + counts.get("ignored_backward", 0)
        repeats += before is not None and (before.incarnation, before.revision) == (incarnation, revision)
    assert total + repeats == len(documents)


DAMAGED = {
    "cut": document(2)[:-9],
    "sum": document(2).replace(b"500000", b"499999", 1),
    "negative": document(2).replace(b"500000", b"-500000", 1),
    "digest": document(2).replace(b'"revision":2', b'"revision":3'),
    "version": document(2).replace(b'"v":1', b'"v":2'),
    "other experiment": document(2, experiment_id="other"),
    "deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe",
    "number": b"7",
    "large": document(2) + b" " * MAX_DOCUMENT_BYTES,
}


@pytest.mark.parametrize("held", [EMPTY, table_of(allocation(1))], ids=["nothing held", "one held"])
@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_document_is_ignored_and_counted(held: Any, raw: bytes) -> None:
    """FC-04: what was held stays, and a listener hears why."""
    table, counts, event = judged("checkout", held, raw)
    assert (table, counts) == (held, {"ignored_damaged": 1})
    assert event is not None
    assert event.detail.startswith("damaged: ")


@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_reading_fail(raw: bytes) -> None:
    held = holding(document(1))
    assert read(held, raw).tables == held.tables


def test_a_key_that_is_gone_leaves_what_is_held() -> None:
    held = holding(document(1))
    gone = read(held, None)
    assert gone.tables == held.tables
    assert gone.counts.ignored_missing == 1
    assert ask(holding(None), default="a") == Assignment("a", None, None, Reason.DEFAULT, None)


def test_an_unchanged_document_is_judged_once() -> None:
    held = holding(document(3), document(2), document(2), document(2), b"{", b"{")
    assert (held.counts.accepted, held.counts.ignored_backward, held.counts.ignored_damaged) == (1, 1, 1)


def test_the_document_held_coming_back_is_no_step_backward() -> None:
    held = holding(document(3), b"{", document(3))
    assert (held.counts.accepted, held.counts.ignored_backward) == (1, 0)


# ── staleness ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(-MINUTES_10, MINUTES_10), st.floats(0, 300), st.lists(st.floats(0, 20), max_size=6))
def test_staleness_begins_at_one_instant_however_often_the_clock_is_read(
    drift: int, lasts: float, polls: list[float]
) -> None:
    """FC-07: with replies up to the slack late, an answer that was stale once is never fresh again, and none is late.

    `drift` is what this machine's own clock is wrong by: it enters nowhere, which the signature of `after` shows.
    """
    end = NOW + round(lasts * 1000)
    held = holding(document(1, valid_until=end))
    stale_at = lasts + GRACE_MS / 1000
    for late in sorted(polls):
        at = late * 20
        held = read(held, document(1, valid_until=end), NOW + round(at * 1000) - round(late / 20 * CLOCK_SLACK_MS), at)
        assert held.tables["checkout"].stale_at == pytest.approx(stale_at, abs=0.001)


def test_a_renewal_ends_staleness() -> None:
    held = holding(document(1, valid_until=NOW))
    assert ask(held, at=0.999).reason is Reason.SPLIT
    assert ask(held, at=1.0).reason is Reason.STALE
    renewed = read(held, document(2, valid_until=NOW + 9000), NOW + 5000, at=5.0)
    assert ask(renewed, at=5.0).reason is Reason.SPLIT


def test_listeners_hear_of_staleness_once_and_of_its_end() -> None:
    held, kinds = holding(document(1, valid_until=NOW)), []
    for at, found in [(0.5, 1), (2.0, 1), (3.0, 1), (4.0, 2)]:
        raw = document(found, valid_until=NOW + (found - 1) * 9000)
        held, events = held.after(Reading({"checkout": raw}, NOW + round(at * 1000)), at)
        kinds += [(at, event.kind) for event in events]
    assert kinds == [(2.0, FlagEventKind.STALE), (4.0, FlagEventKind.CHANGED), (4.0, FlagEventKind.FRESH)]


def test_a_silent_server_makes_listeners_hear_of_staleness_all_the_same() -> None:
    """FC-03: at the poll after its time, whether that poll is answered or not."""
    held = holding(document(1, valid_until=NOW))
    _, events = held.after(Reading({"checkout": ConnectionError()}, None), 2.0)
    assert [event.kind for event in events] == [FlagEventKind.STALE]


def test_a_server_that_tells_no_time_is_dated_by_its_documents() -> None:
    """A user without the right to TIME: an allocation read when it was computed grows stale on time."""
    held = holding(document(1, computed_at=NOW, valid_until=NOW + 5000), server_ms=None)
    assert ask(held, at=5.999).reason is Reason.SPLIT
    assert ask(held, at=6.0).reason is Reason.STALE


def test_an_allocation_without_an_end_is_never_stale() -> None:
    assert holding(document(1, valid_until=None)).tables["checkout"].stale_at == math.inf


def test_another_server_with_another_clock_is_believed() -> None:
    clock = ServerClock().read(NOW, 0.0).read(NOW + 60_000, 1.0)
    assert clock.now(1.0) == NOW + 60_000


@given(st.integers(-CLOCK_SLACK_MS, CLOCK_SLACK_MS))
def test_readings_within_the_slack_are_one(error: int) -> None:
    clock = ServerClock().read(NOW, 0.0)
    assert clock.read(NOW + 7000 + error, 7.0) == clock


# ── the disk ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_copy_from_the_disk_is_served_until_the_server_knows_better() -> None:
    """FC-02: and the server's own document is no second acceptance, while an older one stays out."""
    held = Holdings(Terms(GRACE_MS, "serve")).restored(allocation(3, valid_until=NOW + 5000), NOW, 0.0)
    assert ask(held, at=5.9).reason is Reason.SPLIT
    assert ask(held, at=6.0).reason is Reason.STALE
    assert read(held, document(2), NOW).counts.ignored_backward == 1
    same = read(held, document(3, valid_until=NOW + 5000), NOW)
    assert (same.counts.accepted, same.counts.ignored_backward, same.counts.cache_loaded) == (0, 0, 1)


def test_the_server_corrects_the_clock_of_a_copy() -> None:
    """This machine's clock jumped ahead while nothing ran: stale at first, fresh once the server tells the time."""
    held = Holdings(Terms(GRACE_MS, "serve")).restored(allocation(3, valid_until=NOW), NOW + MINUTES_10, 0.0)
    assert ask(held).reason is Reason.STALE
    assert ask(read(held, document(3, valid_until=NOW), NOW)).reason is Reason.SPLIT
