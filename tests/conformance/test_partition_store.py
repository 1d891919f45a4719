"""What every `PartitionStore` does, whichever it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from faults.reporting import Check
from logs import HOUR, Log, batch, event
from trimtab.adapters import memory
from trimtab.adapters.memory import MemoryPartition
from trimtab.adapters.redis import partition as redis_partition
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.errors import Conflict, LogGap
from trimtab.fold import Commit, Cursor, Entry, PartitionState
from trimtab.fold.dedupe import Scope, marks_of
from trimtab.ports import SCRATCH_MS, PartitionStore
from trimtab_worker.embedded import EmbeddedServer
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


def test_what_is_not_of_the_state_that_was_read_is_not_handed_out(partition: PartitionStore) -> None:
    """The commit's own check would pass where a state moves on, is read, and falls back with its server."""
    log = filled(partition, n=2)
    read, asked = partition.load().cursor, {"x:units:0:0": np.arange(3)}
    assert partition.load_experiments([log.experiment], read)[log.experiment] == log.state()
    assert not partition.seen(asked, read)["x:units:0:0"].any()
    log.row(event())
    log.drain()
    for ask in (lambda: partition.load_experiments([log.experiment], read), lambda: partition.seen(asked, read)):
        with pytest.raises(Conflict, match="moved on while it was read"):
            ask()


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


@pytest.mark.parametrize("start", ["0-0", "a snapshot"])
def test_a_deleted_state_is_rebuilt_bit_for_bit(partition: PartitionStore, start: str, check: Check) -> None:
    """EO-16: every field and every mark of it; from a snapshot where the log no longer reaches back."""
    log = filled(partition)
    if start == "a snapshot":
        assert Maintain(partition, retention_bytes=1).trim()
        log.row(event(unit_id="two", occurred_at=partition.now()))
        log.drain()
    before = digest(partition)
    partition.clear()
    assert log.store.load_experiments([log.experiment]) == {log.experiment: None}
    report = rebuild(partition, verify=False)
    assert (report.from_snapshot == "0-0") is (start == "0-0")
    log.drain()
    check("EO-16", f"from {start}: {before[:16]}", f"from {start}: {digest(partition)[:16]}")


def test_slots_under_a_cap_are_found_by_whoever_remembers_none(partition: PartitionStore) -> None:
    """Each process that folds on asks the store; snapshot and rebuild hold the marks, and come to the same."""
    log = Log(partition, max_outcomes_per_unit_hour=5)
    now = partition.now()
    for number in range(12):
        some = [event(unit_id=f"u{place // 2}", event_id=f"{number}-{place}") for place in range(600)]
        log.columns(batch(some, base=now, offsets=[0] * 600, sent_at=now))
        log.drain()
    assert (log.state().counters["folded"], log.state().counters["capped"]) == (300 * 5, 300 * 19)
    assert rebuild(partition, verify=True).identical
    assert Maintain(partition, retention_bytes=1).trim()
    log.row(event(unit_id="u0", occurred_at=now))
    log.row(event(unit_id="u300", occurred_at=now))
    log.drain()
    report = rebuild(partition, verify=True)
    assert (report.from_snapshot != "0-0", report.identical) == (True, True)
    assert (log.state().counters["folded"], log.state().counters["capped"]) == (300 * 5 + 1, 300 * 19 + 1)


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


@pytest.mark.parametrize("from_snapshot", [False, True], ids=["from-the-start", "from-a-snapshot"])
def test_a_rebuild_is_not_undone_by_a_worker_that_remembers_the_damage(
    partition: PartitionStore, from_snapshot: bool
) -> None:
    """A worker keeps its state between drains: after the repair it must not go on from the damaged one."""
    log = filled(partition, n=10)
    for n in range(10):
        log.row(event(unit_id=f"more-{n}", occurred_at=partition.now()))
    log.drain()
    if from_snapshot:
        assert Maintain(partition, retention_bytes=1).trim()
        log.row(event(unit_id="since", occurred_at=partition.now()))
        log.drain()
    good = log.state().trials[1, "b"]
    cursor = partition.load().cursor
    damage = {"checkout": {"trials:1:b": "999"}}
    assert partition.commit(Commit(cursor, partition={"id": cursor.id}, experiments=damage))
    worker = Ingest(partition)
    log.row(event(unit_id="remembered", occurred_at=partition.now()))
    assert worker.drain(holder="worker").folded == 1
    assert log.state().trials[1, "b"] == 1000
    report = rebuild(partition, verify=False)
    assert report.replaced
    assert (report.from_snapshot != "0-0") is from_snapshot
    assert log.state().trials[1, "b"] == good + 1
    log.row(event(unit_id="next", occurred_at=partition.now()))
    assert worker.drain(holder="worker").folded == 1
    assert log.state().trials[1, "b"] == good + 2
    assert rebuild(partition, verify=True).identical


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


def test_a_space_is_not_replaced_by_one_that_moved(partition: PartitionStore) -> None:
    """Half of one state and half of the next would be a state that never was."""
    filled(partition, n=10)
    other, load = partition.space("snapshot"), partition.load

    def moving() -> PartitionState:
        state = load()
        assert partition.commit(Commit(state.cursor, partition={"id": "9999999999999-0"}))
        return state

    partition.load = moving  # type: ignore[method-assign]
    assert not other.copy_from(partition)
    assert other.load().cursor.id == "0-0"
    partition.load = load  # type: ignore[method-assign]
    assert other.copy_from(partition)


def test_a_copy_is_a_life_of_its_own(partition: PartitionStore) -> None:
    """Whoever remembers the replaced state, or the copied one, cannot commit to the copy."""
    filled(partition, n=10)
    other = partition.space("snapshot")
    replaced, copied = other.load().cursor, partition.load().cursor
    assert other.copy_from(partition)
    assert other.load().cursor.id == copied.id
    for stale in (replaced, copied):
        assert not other.commit(Commit(Cursor(stale.run, copied.id), partition={"id": "9999999999999-0"}))
    assert partition.load().cursor == copied


def test_every_scratch_space_is_new_and_old_ones_are_cleared(
    partition: PartitionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a crashed rebuild left behind is removed by a later one; what a running one works in is not."""
    filled(partition, n=10)
    crashed, running = partition.scratch(), partition.scratch()
    assert crashed.copy_from(partition)
    later = partition.now() + SCRATCH_MS
    with monkeypatch.context() as patch:
        patch.setattr(partition, "now", lambda: later - 60_000)
        partition.scratch().clear()
        assert digest(crashed) == digest(partition), "an hour has not passed"
        patch.setattr(partition, "now", lambda: later + 60_000)
        fresh = partition.scratch()
        assert running.copy_from(partition)
        patch.setattr(partition, "now", lambda: later + 120_000)
        partition.scratch().clear()
    assert crashed.load().cursor.id == "0-0"
    assert fresh.load().cursor.id == "0-0"
    assert digest(running) == digest(partition)
    if isinstance(partition, RedisPartition):
        crashed.clear()
        fresh.clear()
        running.clear()
        assert partition._client.keys("*rebuild*") == []


def test_a_cleared_space_takes_no_commit_of_whoever_worked_in_it(partition: PartitionStore) -> None:
    filled(partition, n=10)
    work = partition.scratch()
    assert work.copy_from(partition)
    remembered = work.load().cursor
    work.clear()
    assert not work.commit(Commit(remembered, partition={"id": "9999999999999-0"}))
    assert not partition.copy_from(work, over=Cursor("stranger", "0-0"))


@pytest.mark.parametrize("trimmed", [False, True], ids=["from-the-start", "from-a-snapshot"])
def test_two_rebuilds_and_a_drain_at_once_leave_the_live_state_exact(server: EmbeddedServer, trimmed: bool) -> None:
    """Each works in a space of its own and swaps over the state that it has compared, or tries again."""
    clients = [connect(server.url) for _ in range(3)]
    partitions = [RedisPartition(client, 0) for client in clients]
    log = filled(partitions[0], n=1000)
    upkeep = Maintain(partitions[0], retention_bytes=1)
    if trimmed:
        assert upkeep.trim()
    worker, total = Ingest(partitions[2]), log.state().trials[1, "b"]
    with ThreadPoolExecutor(2) as threads:
        for number in range(10):
            cursor = partitions[0].load().cursor
            damage = {"checkout": {"trials:1:b": "999"}}
            assert partitions[0].commit(Commit(cursor, partition={"id": cursor.id}, experiments=damage))
            running = [threads.submit(rebuild, partitions[n], verify=False) for n in (0, 1)]
            log.row(event(unit_id=f"meanwhile-{number}", occurred_at=partitions[2].now()))
            worker.drain(holder="worker")
            assert all(rebuilt.result().replaced for rebuilt in running)
            assert worker.drain(holder="worker").dead == 0
            total += 1
            assert log.state().trials[1, "b"] == total
            assert rebuild(partitions[0], verify=True).identical
    assert clients[0].keys("*rebuild*") == []
    for client in clients:
        client.close()


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


def test_a_note_of_an_attempt_stays_until_it_is_taken_away(partition: PartitionStore) -> None:
    assert partition.note_attempt("open", keep=True) == ""
    assert partition.note_attempt("another", keep=True) == "open"
    assert partition.note_attempt("5-0 1 1") == "open"
    assert partition.space("snapshot").note_attempt("x", keep=True) == "5-0 1 1"
    partition.end_attempt()
    assert partition.note_attempt("open") == ""


def test_a_quarantined_entry_is_known_to_every_space_and_its_readers_cannot_commit(partition: PartitionStore) -> None:
    filled(partition, n=2)
    read = partition.load().cursor
    assert not partition.quarantine("7-7", Cursor(read.run, "0-1"))
    assert partition.load().quarantined == frozenset()
    assert partition.quarantine("7-7", read)
    assert partition.load().quarantined == {"7-7"} == partition.scratch().load().quarantined
    assert not partition.commit(Commit(expected=read, partition={"id": "9999999999999-0"}))
    assert partition.commit(Commit(expected=partition.load().cursor, partition={"id": "9999999999999-0"}))


def test_dead_letters_come_newest_first(partition: PartitionStore) -> None:
    log = filled(partition, n=10)
    log.row(b"newest")
    log.drain()
    assert [letter.raw for letter in partition.dead_letters(2)] == ["newest", "nonsense"]
    (newest, _), (before, _) = partition.letters(2)
    assert partition.letters(1, before=newest) == partition.letters(2)[1:]
    assert partition.letters(5, before=before) == []
    letter = partition.letter(newest)
    assert letter is not None
    assert (letter.raw, letter.field, letter.complete) == ("newest", "event", True)
    assert partition.letter("1-1") is None


def test_the_oldest_dead_letters_make_room_and_are_counted(
    partition: PartitionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in (memory, redis_partition):
        monkeypatch.setattr(store, "MAX_DEAD_BYTES", 20_000)
    log = Log(partition)
    for number in range(100):
        log.row(b"nonsense %d" % number)
    log.drain()
    kept, size, dropped = partition.dead_size()
    letters = partition.dead_letters(1000)
    assert 20_000 - 1000 < size <= 20_000
    assert size == sum(len(letter.model_dump_json().encode()) for letter in letters)
    assert (kept, kept + dropped) == (len(letters), 100)
    assert letters[0].raw == "nonsense 99"


def test_who_only_looks_sees_what_a_load_sees_and_creates_nothing(partition: PartitionStore) -> None:
    assert partition.peek().cursor == Cursor("", "0-0")
    assert partition.counters(["checkout"], ["folded"]) == {"checkout": Counter({"folded": 0})}
    log = filled(partition, n=10)
    log.drain()
    state = partition.load()
    peeked = partition.peek()
    assert (peeked.cursor, peeked.clock, peeked.counters) == (state.cursor, state.clock, state.counters)
    assert partition.counters(["checkout", "nowhere"], ["folded"]) == {
        "checkout": Counter({"folded": log.state().counters["folded"]}),
        "nowhere": Counter({"folded": 0}),
    }
    assert partition.counters([], ["folded"]) == {}


def test_a_dead_letter_goes_back_to_the_log_once(partition: PartitionStore) -> None:
    log = Log(partition)
    log.row(event(variant="c"))
    log.drain()
    ((letter_id, letter),) = partition.letters(10)
    source = partition.entry(letter.source)
    assert source is not None
    assert source.fields[b"event"].decode() == letter.raw
    size = partition.dead_size().bytes
    assert partition.redrive(letter_id, "event", letter.raw.encode())
    assert not partition.redrive(letter_id, "event", letter.raw.encode())
    assert partition.dead_size() == (0, 0, 0)
    assert size > 0
    assert partition.read(letter.source, 10)[0].fields == source.fields
    assert partition.entry("1-1") is None


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


def test_a_backlog_longer_than_the_retention_is_trimmed_at_once(partition: PartitionStore) -> None:
    """A server that the backlog filled takes no event before, so there would be no next trim."""
    filled(partition)
    length = partition.ends().length
    assert Maintain(partition, retention_bytes=1000).trim()
    assert partition.ends().removed > length // 2
    assert rebuild(partition, verify=True).identical


def test_a_trim_has_no_limit(partition: PartitionStore) -> None:
    """Redis stops an approximate trim after 10,000 entries unless told otherwise: the log would outgrow it."""
    for _ in range(11_000):
        partition.append("event", b"x")
    partition.trim(partition.ends().last_id)
    assert partition.ends().length < 500


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


@pytest.mark.parametrize("way", [lambda store: rebuild(store, verify=False), lambda store: accept_loss(store, "why")])
def test_a_snapshot_outlives_its_state_whichever_way_out_is_taken(
    partition: PartitionStore, way: Callable[[PartitionStore], object]
) -> None:
    """The log no longer reaches back to its start: what was trimmed from it, the snapshot alone knows."""
    log = filled(partition, n=20)
    assert Maintain(partition, retention_bytes=1).trim()
    partition.trim(partition.ends().last_id)
    log.row(event(unit_id="since", occurred_at=partition.now()))
    log.drain()
    before = log.state()
    partition.clear()
    with pytest.raises(LogGap, match=r"older than its snapshot.*trimtab rebuild"):
        log.drain()
    way(partition)
    log.drain()
    assert log.state().cells == before.cells
    assert rebuild(partition, verify=True).identical


def test_a_log_whose_ids_begin_before_the_cursor_goes_on_once_the_loss_is_accepted(partition: PartitionStore) -> None:
    """Somebody wrote under an id of a far future, and somebody else deleted the log to be rid of it."""
    log = filled(partition, n=10)
    counted, ahead = partition.load().counters["folded"], 10**15
    forge(partition, f"{ahead}-0")
    log.drain()
    assert partition.load().cursor.id == f"{ahead}-0"
    forget_log(partition)
    for place in range(2):
        log.row(event(unit_id=f"new-{place}", occurred_at=partition.now()))
        with pytest.raises(LogGap, match="deleted"):
            log.drain()
    accept_loss(partition, "the stream was deleted on purpose")
    assert partition.load().counters["folded"] == counted + 2
    log.row(event(unit_id="newer", occurred_at=partition.now()))
    assert log.drain().folded == 1
    assert rebuild(partition, verify=True).identical
    forget_log(partition)
    accept_loss(partition, "and once more, before anything was written")
    log.row(event(unit_id="newest", occurred_at=partition.now()))
    assert log.drain().folded == 1
    assert rebuild(partition, verify=True).identical


def test_entries_of_an_older_log_that_were_folded_before_are_not_folded_again(partition: PartitionStore) -> None:
    log = filled(partition, n=10)
    counted, entries = partition.load().counters["folded"], partition.read("0-0", 10_000)
    forge(partition, f"{10**15}-0")
    log.drain()
    forget_log(partition)
    for entry in entries:
        forge(partition, entry.id, entry.fields)
    accept_loss(partition, "an older log was restored")
    assert partition.load().counters["folded"] == counted
    log.row(event(unit_id="newer", occurred_at=partition.now()))
    assert log.drain().folded == 1
    assert rebuild(partition, verify=True).identical


def forge(partition: PartitionStore, entry_id: str, fields: Mapping[bytes, bytes] | None = None) -> None:
    """What `XADD` with an id of one's own does."""
    entry = Entry(entry_id, fields or {b"event": b"{}"})
    if isinstance(partition, RedisPartition):
        partition._client.xadd(partition.keys.events, dict(entry.fields), id=entry_id)
    elif isinstance(partition, MemoryPartition):
        partition._all.entries.append(entry)
        partition._all.last_id = entry_id
        partition._all.added += 1


def forget_log(partition: PartitionStore) -> None:
    """What `DEL` of the stream does."""
    if isinstance(partition, RedisPartition):
        partition._client.delete(partition.keys.events)
    elif isinstance(partition, MemoryPartition):
        everything = partition._all
        everything.entries, everything.added, everything.last_id = [], 0, "0-0"


def test_a_log_begun_anew_keeps_the_state_and_drops_whoever_read_the_old_one(partition: PartitionStore) -> None:
    log = filled(partition, n=5)
    before, read = log.state(), partition.load().cursor
    assert not partition.renew_log(Cursor(read.run, "0-1"))
    assert partition.ends().length > 0
    assert partition.renew_log(read)
    assert (partition.ends().length, partition.load().cursor.id) == (0, "0-0")
    assert not partition.commit(Commit(expected=read, partition={"id": "9999999999999-0"}))
    assert log.state() == before
