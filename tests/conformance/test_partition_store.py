"""What every `PartitionStore` does, whichever it is."""

from __future__ import annotations

import numpy as np
import pytest

from logs import HOUR, Log, batch, event
from trimtab.adapters.memory import MemoryPartition
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.errors import LogGap
from trimtab.fold import Commit, Cursor, Entry
from trimtab.fold.dedupe import Scope, marks_of
from trimtab.ports import PartitionStore
from trimtab_worker.services.accept_loss import accept_loss
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.rebuild import digest, rebuild


def filled(partition: PartitionStore, n: int = 3000) -> Log:
    """A log with rows, batches, duplicates and refusals of a partition, folded."""
    log = Log(partition, unit="unit")
    now = partition.now()
    for place in range(n // 10):
        some = [
            event(unit_id=f"u{place}-{i}", event_id=f"e{place}-{i % 9}", metrics={"converted": i % 2, "amount": i / 7})
            for i in range(10)
        ]
        log.columns(batch(some, base=now, offsets=[0] * 10, sent_at=now, producer="p", sequence=place + 1))
    log.row(event(unit_id="one", occurred_at=now))
    log.row(b"nonsense")
    log.drain()
    return log


def test_entries_are_read_in_order_after_a_cursor(partition: PartitionStore) -> None:
    ids = [partition.append("event", str(n).encode()) for n in range(5)]
    assert [e.id for e in partition.read(ids[1], 2)] == ids[2:4]
    assert partition.read("0-0", 1)[0].fields == {b"event": b"0"}
    assert partition.read(ids[-1], 10) == []


def test_the_ends_of_the_log_tell_what_was_trimmed(partition: PartitionStore) -> None:
    assert partition.ends().last_id == "0-0"
    ids = [partition.append("event", b"x" * 500) for _ in range(1000)]
    removed = partition.trim(ids[600])
    ends = partition.ends()
    assert 0 < removed <= 600, "a trim may keep more than it must, never less"
    assert (ends.length, ends.entries_added, ends.last_id) == (1000 - removed, 1000, ids[-1])
    assert (ends.first_id, ends.removed) == (ids[removed], removed)


def test_an_epoch_is_announced_once_and_only_upwards(partition: PartitionStore) -> None:
    assert partition.announced("x") == 0
    assert partition.announce("x", 1, b"one")
    assert not partition.announce("x", 1, b"again")
    assert partition.announce("x", 3, b"three")
    assert not partition.announce("x", 2, b"late")
    assert [entry.fields[b"control"] for entry in partition.read("0-0", 9)] == [b"one", b"three"]
    assert partition.announced("x") == 3


def test_a_commit_is_refused_once_the_cursor_moved(partition: PartitionStore) -> None:
    """Two folds of the same entries: one is applied, the other changes nothing."""
    start = partition.load().cursor
    first = Commit(expected=start, partition={"id": "5-0", "clock": "5"}, producers={"p": "1 9"})
    second = Commit(expected=start, partition={"id": "6-0", "clock": "6"}, producers={"q": "1 9"})
    assert partition.commit(first)
    assert not partition.commit(second)
    assert not partition.commit(first), "nor the same again: its answer may have been lost"
    assert partition.load().cursor.id == "5-0"
    assert set(partition.load().producers) == {"p"}


def test_a_commit_of_another_life_is_refused(partition: PartitionStore) -> None:
    partition.load()
    assert not partition.commit(Commit(expected=Cursor("stranger", "0-0"), partition={"id": "5-0"}))


def test_marks_are_found_after_they_were_set_and_not_before(partition: PartitionStore) -> None:
    marks = marks_of(f"event-{n}" for n in range(5000))
    asked = Scope("x:units", 20_000, np.arange(len(marks)), marks).lookups()
    assert not any(found.any() for found in partition.seen(asked).values())
    some = {name: ids[: len(ids) // 2 + 1] for name, ids in asked.items()}
    assert partition.commit(Commit(expected=partition.load().cursor, partition={"id": "1-0"}, marks=some))
    for name, found in partition.seen(asked).items():
        assert found.tolist() == [mark in some[name] for mark in asked[name]]


def test_large_commits_are_applied_whole(partition: PartitionStore) -> None:
    """More fields and marks than Lua hands to one call."""
    fields = {f"trials:1:v{n}": str(n) for n in range(10_000)}
    definition = filled(partition, n=10).state().head_fields()
    commit = Commit(
        expected=partition.load().cursor,
        partition={"id": "9999999999999-0"},
        experiments={"wide": definition | fields},
        marks={"wide:units:0:0": np.arange(10**18, 10**18 + 9000)},
    )
    assert partition.commit(commit)
    state = partition.load_experiments(["wide"])["wide"]
    assert state is not None
    assert len(state.trials) == 10_000
    assert partition.seen({"wide:units:0:0": np.arange(10**18, 10**18 + 9001)})["wide:units:0:0"].sum() == 9000


def test_a_rebuild_gives_the_same_state_bit_for_bit(partition: PartitionStore) -> None:
    filled(partition)
    report = rebuild(partition, verify=True)
    assert report.identical
    assert report.entries == len(partition.read("0-0", 10_000))


def test_a_rebuild_replaces_what_was_damaged(partition: PartitionStore) -> None:
    log = filled(partition)
    good = partition.dump()
    damage = {"checkout": {"cell:1:b:converted": "1 1 1", "trials:1:b": "1"}}
    partition.commit(Commit(partition.load().cursor, partition={"id": partition.load().cursor.id}, experiments=damage))
    assert not rebuild(partition, verify=True).identical
    assert rebuild(partition, verify=False).replaced
    assert partition.dump() == good
    log.row(event(unit_id="afterwards", occurred_at=partition.now()))
    assert log.drain().folded == 1, "and the fold goes on from there"


def test_a_trimmed_log_is_rebuilt_from_its_snapshot(partition: PartitionStore) -> None:
    """Duplicates of events whose entries are gone are still recognised: marks are part of the snapshot."""
    log = filled(partition)
    upkeep = Maintain(partition, retention_bytes=1)
    assert upkeep.trim()
    log.row(event(unit_id="one", occurred_at=partition.now()))
    log.row(event(unit_id="two", occurred_at=partition.now()))
    log.drain()
    assert upkeep.trim()
    assert partition.ends().removed > 0
    log.row(event(unit_id="two", occurred_at=partition.now()))
    log.row(event(unit_id="three", occurred_at=partition.now()))
    assert log.drain().folded == 1
    report = rebuild(partition, verify=True)
    assert report.identical
    assert report.entries == 2


def test_trimming_never_passes_what_the_fold_has_read(partition: PartitionStore) -> None:
    log = filled(partition)
    for n in range(300):
        log.row(event(unit_id=f"unread-{n}", occurred_at=partition.now()))
    unread = partition.read(partition.load().cursor.id, 1000)
    upkeep = Maintain(partition, retention_bytes=1)
    for _ in range(5):
        upkeep.trim()
    assert partition.read(partition.load().cursor.id, 1000) == unread
    assert log.drain().folded == 300


def test_a_space_is_not_replaced_once_it_moved(partition: PartitionStore) -> None:
    filled(partition)
    other = partition.space("rebuild")
    stale = Cursor(other.load().cursor.run, "1-1")
    assert not other.copy_from(partition, over=stale)
    assert other.copy_from(partition)
    assert digest(other) == digest(partition)
    other.clear()
    assert other.load().cursor.id == "0-0"


def test_the_lease_is_held_by_one(partition: PartitionStore) -> None:
    assert partition.take_lease("me", 30)
    assert not partition.take_lease("you", 30)
    assert partition.take_lease("me", 30)
    partition.leave_lease("you")
    assert not partition.take_lease("you", 30)
    partition.leave_lease("me")
    assert partition.take_lease("you", 30)


def test_a_drain_reports_itself(partition: PartitionStore) -> None:
    assert partition.drained_at() is None
    Ingest(partition).drain(holder="test")
    reported = partition.drained_at()
    assert reported is not None
    assert abs(partition.now() - reported) < 60_000


def test_dead_letters_come_newest_first(partition: PartitionStore) -> None:
    log = filled(partition, n=10)
    log.row(b"newest")
    log.drain()
    assert [letter.raw for letter in partition.dead_letters(2)] == ["newest", "nonsense"]


def test_a_quiet_log_is_told_the_time(partition: PartitionStore) -> None:
    """Else an entry after a long quiet would look forged, and every event of it be of the future."""
    log = filled(partition, n=10)
    before = len(partition.read("0-0", 10_000))
    Maintain(partition, 10**9).tick_clock()
    assert len(partition.read("0-0", 10_000)) == before, "a log that knows the time is left alone"
    cursor = partition.load().cursor
    behind = {"id": cursor.id, "clock": str(partition.now() - 50 * HOUR)}
    assert partition.commit(Commit(cursor, partition=behind))
    Maintain(partition, 10**9).tick_clock()
    log.drain()
    assert abs(partition.load().clock - partition.now()) < 60_000


def test_unread_entries_that_somebody_trimmed_are_noticed(partition: PartitionStore) -> None:
    """EO-19: a foreign trim is found by the next drain, before anything past the gap is folded."""
    log = filled(partition, n=10)
    before = partition.load().counters["folded"]
    for n in range(1000):
        log.row(event(unit_id=f"lost-{n}", occurred_at=partition.now()))
    newest = partition.ends().last_id
    assert partition.trim(newest) > 0
    with pytest.raises(LogGap, match="somebody else trims"):
        log.drain()
    assert partition.load().counters["folded"] == before
    left = len(partition.read(partition.load().cursor.id, 10_000))
    assert accept_loss(partition, "an operator's decision") == 1000 - left
    assert partition.load().counters["folded"] == before + left
    log.row(event(unit_id="afterwards", occurred_at=partition.now()))
    assert log.drain().folded == 1, "the partition goes on"
    assert rebuild(partition, verify=True).identical, "and can be rebuilt from here"


def test_an_entry_trimmed_while_a_drain_waits_for_it_is_noticed(partition: PartitionStore) -> None:
    """Two entries come and the first goes before the waiting read returns: it must not pass for the only one."""
    log = filled(partition, n=10)
    read = partition.read

    def interrupted(after: str, count: int, block_ms: int | None = None) -> list[Entry]:
        if block_ms is not None:
            for n in range(300):
                log.row(event(unit_id=f"lost-{n}", occurred_at=partition.now()))
            partition.trim(partition.ends().last_id)
        return read(after, count, block_ms)

    partition.read = interrupted  # type: ignore[method-assign]
    with pytest.raises(LogGap):
        Ingest(partition).step(DrainReport(), 10)


def test_a_log_that_was_deleted_goes_on_once_the_loss_is_accepted(partition: PartitionStore) -> None:
    log = filled(partition, n=100)
    counted = partition.load().counters["folded"]
    forget_log(partition)
    log.row(event(unit_id="new", occurred_at=partition.now()))
    with pytest.raises(LogGap, match="deleted"):
        log.drain()
    accept_loss(partition, "the stream was deleted by mistake")
    assert partition.load().counters["folded"] == counted + 1
    log.row(event(unit_id="newer", occurred_at=partition.now()))
    assert log.drain().folded == 1
    assert rebuild(partition, verify=True).identical


def forget_log(partition: PartitionStore) -> None:
    """What `DEL` of the stream does."""
    if isinstance(partition, RedisPartition):
        partition._client.delete(partition.keys.events)
    elif isinstance(partition, MemoryPartition):
        # ids go on from the clock, as on a server, so that none comes twice
        everything = partition._all
        everything.entries, everything.added = [], 0
