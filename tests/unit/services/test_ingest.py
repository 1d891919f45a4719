"""The drain: exactly once whoever else drains, whatever answer is lost, whatever the server forgot."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import NOW, Log, batch, event
from trimtab.errors import ConfigurationError, LogGap
from trimtab.fold import Commit
from trimtab.schema.signing import NO_KEYS, Keyring
from trimtab_worker.services import remembered
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.signing import require


def unit_events(*numbers: int) -> list[dict[str, object]]:
    return [event(unit_id=f"u{n}", event_id=f"e{n}") for n in numbers]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), min_size=1, max_size=60))
def test_drains_that_take_turns_count_every_unit_once(turns: list[tuple[int, int]]) -> None:
    """Three workers without a lease step over one partition in any order; each holds a state the others move."""
    log = Log(unit="unit")
    workers = [Ingest(log.store) for _ in range(3)]
    for worker, unit in turns:
        log.columns(batch(unit_events(unit)))
        workers[worker].step(DrainReport(), None)
    for worker in workers:
        while worker.step(DrainReport(), None):
            pass
    assert sum(log.state().trials.values()) == len({unit for _, unit in turns})
    assert log.store.load().counters["entries"] == len(log.store.read("0-0", 1000))


def test_a_commit_whose_answer_was_lost_is_not_applied_again() -> None:
    log = Log(unit="unit")
    log.columns(batch(unit_events(1, 2, 3)))
    commit, lost = log.store.commit, []

    def losing(step: Commit) -> bool:
        applied = commit(step)
        if not lost:
            lost.append(step)
            raise ConnectionError("the reply never came")
        return applied

    log.store.commit = losing  # type: ignore[method-assign]
    worker = Ingest(log.store)
    with pytest.raises(ConnectionError):
        worker.drain(holder="w")
    log.columns(batch(unit_events(3, 4)))
    worker.drain(holder="w")
    assert sum(log.state().trials.values()) == 4


def test_a_state_that_the_server_lost_again_is_no_gap() -> None:
    """After a power cut log and state come back together from before the last second; the worker did not die."""
    log = Log(unit="unit")
    log.columns(batch(unit_events(1, 2)))
    log.drain()
    yesterday = copy.deepcopy(log.store._all)  # type: ignore[attr-defined]
    worker = Ingest(log.store)
    log.columns(batch(unit_events(3, 4)))
    worker.drain(holder="w")
    log.store._all = yesterday  # type: ignore[attr-defined]
    worker.drain(holder="w")
    log.columns(batch(unit_events(3, 4, 5)))
    worker.drain(holder="w")
    assert sum(log.state().trials.values()) == 5


def test_a_log_that_was_deleted_is_a_gap() -> None:
    log = Log()
    log.columns(batch(unit_events(1, 2)))
    log.drain()
    log.store._all.entries.clear()  # type: ignore[attr-defined]
    log.store._all.last_id, log.store._all.added = "0-0", 0  # type: ignore[attr-defined]
    with pytest.raises(LogGap, match="deleted"):
        log.drain()


def test_a_second_drain_returns_at_once_while_the_first_has_the_lease() -> None:
    log = Log()
    log.row(event())
    assert log.store.take_lease("other", 30)
    assert Ingest(log.store).drain(holder="me").busy
    log.store.leave_lease("other")
    assert Ingest(log.store).drain(holder="me").folded == 1


def test_a_drain_that_cannot_fold_falls_silent() -> None:
    """Weights are held as stale, and alarms look, by the time since a drain reported."""
    log = Log()
    ring = Keyring((b"s" * 32,))
    log.store.keyring = ring
    require([log.store], ring, required=True)
    log.drain()
    reported = log.store.drained_at()
    log.clock.now += 60_000
    log.row(event())
    log.store.keyring = NO_KEYS
    with pytest.raises(ConfigurationError, match="fingerprint"):
        Ingest(log.store).drain(holder="w")
    assert log.store.drained_at() == reported
    log.store.keyring = ring
    log.drain()
    assert log.store.drained_at() == log.clock.now


def test_a_drain_says_what_it_did() -> None:
    log = Log()
    log.columns(batch(unit_events(1, 1, 2)))
    log.row(b"nonsense")
    report = log.drain()
    assert (report.entries, report.folded, report.duplicates, report.dead) == (6, 2, 1, 1)


def test_marks_are_asked_for_again_where_too_many_to_remember(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for ten marks, for a thousand, or with none remembered at all, the count is the same."""
    counts = set()
    for room in (0, 10, 10_000):
        monkeypatch.setattr(remembered, "MOST_MARKS", room)
        log = Log(unit="unit")
        worker = Ingest(log.store)
        for start in range(0, 600, 30):
            log.columns(batch(unit_events(*range(start, start + 60))))
            worker.step(DrainReport(), None)
        counts.add(sum(log.state().trials.values()))
    assert counts == {630}


def test_reads_grow_where_entries_are_small_and_shrink_where_they_are_large() -> None:
    log = Log()
    worker = Ingest(log.store)
    for _ in range(3000):
        log.row(event(occurred_at=NOW))
    sizes = []
    while worker.step(report := DrainReport(), None):
        sizes.append(report.entries)
    assert sizes[0] < sizes[1] < sizes[2]
    assert sum(sizes) == 3000 + 4, "and the four control entries of the start"
