"""Batches: nothing lost, nothing changed on the way, numbers without a gap, the same bytes however often sent."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_events import NOW, event, events
from trimtab.client._outbox import (
    IDLE_MILLISECONDS,
    MAX_IN_FLIGHT_BYTES,
    MAX_KEPT_BYTES,
    RESEND_MILLISECONDS,
    Life,
    Limits,
    Outbox,
    Sealed,
)
from trimtab.errors import ConfigurationError
from trimtab.ids import partition_of
from trimtab.schema.base import canonical_json
from trimtab.schema.event import MAX_BATCH_BYTES, EventBatch, OutcomeEvent

FIELDS = ("unit_id", "event_id", "exposed_at", "segment", "cell", "propensity", "features")


def outbox(partitions: int = 1, **limits: int) -> Outbox:
    numbers = count(1)
    return Outbox(partitions, Limits(**limits), new_id=lambda: f"producer-{next(numbers)}")


def send_all(box: Outbox, now: int = NOW) -> list[Sealed]:
    """What a server that takes everything gets, in order."""
    got: list[Sealed] = []
    for window in box.windows():
        got += window.batches
        box.confirm(window, [b"1-0"] * len(window.batches), now)
    return got


def unpacked(payload: bytes) -> Iterator[OutcomeEvent]:
    """The events of a batch, read as any consumer would read the schema."""
    batch = EventBatch.model_validate_json(payload)
    for row in range(batch.n):
        columns = {name: getattr(batch, name)[row] for name in FIELDS if getattr(batch, name) is not None}
        yield OutcomeEvent(
            experiment_id=batch.experiment_id,
            variant=batch.variants[batch.variant[row]],
            metrics={name: float(column[row]) for name, column in batch.metrics.items() if column[row] is not None},
            occurred_at=batch.base + (batch.offsets[row] if batch.offsets else 0),
            epoch=batch.epoch,
            origin=batch.origin,
            **columns,
        )


def canonical(given_events: list[OutcomeEvent]) -> Counter[bytes]:
    """The events as a multiset of sorted JSON; −0 and 0 are one number."""
    return Counter(canonical_json(found.model_dump(mode="json")).replace(b"-0.0", b"0.0") for found in given_events)


@given(st.lists(events, max_size=30), st.integers(1, 7), st.integers(1, 4))
def test_what_comes_out_is_what_went_in(given_events: list[OutcomeEvent], size: int, partitions: int) -> None:
    box = outbox(partitions, events=size)
    box.seal(given_events, NOW)
    batches = send_all(box)
    found = [back for batch in batches for back in unpacked(batch.payload)]
    assert canonical(found) == canonical(given_events)
    assert sum(batch.n for batch in batches) == len(given_events)
    assert not box


@given(st.lists(st.lists(events, max_size=8), max_size=6), st.integers(1, 4), st.randoms())
def test_each_producer_counts_from_one_without_a_gap_whatever_is_refused(
    rounds: list[list[OutcomeEvent]], partitions: int, rng: random.Random
) -> None:
    """Any prefix of a window may be accepted, replies may be lost: distinct batches travel in order, unchanged."""
    box, log = outbox(partitions, events=2), []
    for given_events in rounds:
        box.seal(given_events, NOW)
        for window in box.windows():
            accepted = rng.randint(0, len(window.batches))
            log += [(window.partition, batch) for batch in window.batches[:accepted]]
            heard = rng.choice([accepted, 0])
            refused: list[Any] = [ConnectionError()] * (heard < len(window.batches))
            box.confirm(window, [b"1-0"] * heard + refused, NOW)
            if rng.random() < 0.3:
                break
    log += [(0, batch) for batch in send_all(box)]
    sent: dict[str, dict[int, bytes]] = {}
    for _, batch in log:
        known = sent.setdefault(batch.producer, {})
        if batch.sequence in known:
            assert known[batch.sequence] == batch.payload
        else:
            assert batch.sequence == len(known) + 1
            known[batch.sequence] = batch.payload
    assert sum(EventBatch.model_validate_json(p).n for known in sent.values() for p in known.values()) == sum(
        map(len, rounds)
    )


@given(st.lists(events, min_size=1, max_size=20), st.integers(2, 9))
def test_an_experiment_travels_in_its_own_partition_only(given_events: list[OutcomeEvent], partitions: int) -> None:
    box = outbox(partitions)
    box.seal(given_events, NOW)
    for window in box.windows():
        for batch in window.batches:
            experiment_id = EventBatch.model_validate_json(batch.payload).experiment_id
            assert partition_of(experiment_id, partitions) == window.partition
        box.confirm(window, [b"1-0"] * len(window.batches), NOW)


def test_a_batch_names_its_producer_its_number_and_when_it_was_sealed() -> None:
    box = outbox()
    box.seal([event(1)], NOW)
    box.seal([event(2)], NOW + 50)
    found = [EventBatch.model_validate_json(batch.payload) for batch in send_all(box)]
    assert [(b.producer, b.sequence, b.sent_at) for b in found] == [("producer-1", 1, NOW), ("producer-1", 2, NOW + 50)]


def test_a_lean_event_takes_less_than_35_bytes() -> None:
    box = outbox()
    box.seal([event(number) for number in range(10_000)], NOW)
    assert sum(len(batch.payload) for batch in send_all(box)) < 35 * 10_000


def test_optional_columns_travel_only_where_an_event_has_them() -> None:
    box = outbox()
    box.seal([event(1, unit_id=None, occurred_at=NOW)], NOW)
    (batch,) = send_all(box)
    for name in (*FIELDS, "offsets"):
        assert f'"{name}"'.encode() not in batch.payload


def test_a_number_json_cannot_hold_becomes_null_not_a_broken_batch() -> None:
    box = outbox()
    box.seal([event(1, features={"ratio": float("nan")})], NOW)
    (batch,) = send_all(box)
    assert EventBatch.model_validate_json(batch.payload).features == [{"ratio": None}]


def test_batches_stay_within_their_bytes_however_fat_the_events() -> None:
    box = outbox(bytes_=16_384)
    box.seal([event(number, features={"text": "x" * 7000}) for number in range(9)], NOW)
    batches = send_all(box)
    assert all(len(batch.payload) <= 16_384 for batch in batches)
    assert [batch.sequence for batch in batches] == list(range(1, len(batches) + 1))
    assert sum(batch.n for batch in batches) == 9


def test_events_of_more_than_32_metrics_together_travel_in_several_batches() -> None:
    box = outbox()
    box.seal([event(number, metrics={f"m{number}": 1.0}) for number in range(100)], NOW)
    batches = [EventBatch.model_validate_json(batch.payload) for batch in send_all(box)]
    assert all(len(batch.metrics) <= 32 for batch in batches)
    assert sum(batch.n for batch in batches) == 100


def test_a_window_stays_within_what_may_be_in_flight() -> None:
    box = outbox(events=100)
    box.seal([event(number, features={"text": "x" * 7000}) for number in range(1500)], NOW)
    window = next(box.windows())
    assert len(window.batches) > 1
    assert sum(len(batch.payload) for batch in window.batches) <= MAX_IN_FLIGHT_BYTES


def test_after_twelve_idle_hours_a_lane_takes_a_new_producer_and_other_lanes_do_not() -> None:
    names = iter(f"e{number}" for number in range(100))
    by_partition = {partition_of(name, 2): name for name in names}
    box, later = outbox(2), NOW + IDLE_MILLISECONDS + 1
    box.seal([event(1, experiment_id=by_partition[0]), event(1, experiment_id=by_partition[1])], NOW)
    first = {batch.producer for batch in send_all(box)}
    box.seal([event(2, experiment_id=by_partition[1])], NOW + IDLE_MILLISECONDS)
    (kept,) = send_all(box, NOW + IDLE_MILLISECONDS)
    assert (kept.producer in first, kept.sequence) == (True, 2)
    box.seal([event(3, experiment_id=by_partition[0]), event(3, experiment_id=by_partition[1])], later)
    fresh, still = send_all(box, later)
    assert (fresh.producer in first, fresh.sequence) == (False, 1)
    assert (still.producer, still.sequence) == (kept.producer, 3)


def test_what_was_sealed_before_an_outage_of_a_day_keeps_its_name_and_what_follows_gets_a_new_one() -> None:
    box = outbox()
    box.seal([event(1)], NOW)
    box.seal([event(2)], NOW + 2 * IDLE_MILLISECONDS)
    batches = send_all(box, NOW + 2 * IDLE_MILLISECONDS)
    assert [(batch.producer, batch.sequence) for batch in batches] == [("producer-1", 1), ("producer-2", 1)]


@pytest.mark.parametrize(
    "limits", [{"events": 0}, {"events": 50_001}, {"bytes_": 16_383}, {"bytes_": MAX_BATCH_BYTES + 1}]
)
def test_limits_outside_their_range_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="choose"):
        Limits(**limits)


UNWRITABLE = [
    {"features": {"\ud800": 1}},
    {"features": {"x": object()}},
    {"metrics": None},
    {"metrics": {f"m{number}": 1.0 for number in range(33)}},
    {"epoch": [1]},
    {"experiment_id": "\ud800"},
    {"experiment_id": None},
]


@pytest.mark.parametrize("fields", UNWRITABLE)
def test_an_event_that_cannot_be_written_fails_alone(fields: dict[str, Any]) -> None:
    """It skipped validation, or was changed after it; those before and behind it in the same group travel."""
    bad = event(3).model_copy(update=fields)
    box = outbox()
    assert box.seal([event(1), event(2), bad, event(4)], NOW) == 1
    found = [back for batch in send_all(box) for back in unpacked(batch.payload)]
    assert [back.unit_id for back in found] == ["user-1", "user-2", "user-4"]
    box.seal([event(5)], NOW)
    sequences = [batch.sequence for batch in send_all(box)]
    assert len(sequences) == 1


class ForgetfulServer:
    """A log that may lose its end; `counted` folds it as the fold does and refuses a gap."""

    def __init__(self) -> None:
        self.lives = count(1)
        self.life = Life("run-0", "log-0")
        self.log: list[tuple[int, Sealed]] = []

    def lose(self, since: int) -> None:
        """Everything written after `since` is gone, and another process answers."""
        self.log = [(at, batch) for at, batch in self.log if at <= since]
        self.life = Life(f"run-{next(self.lives)}", "log-0")

    def take(self, batches: tuple[Sealed, ...], now: int) -> None:
        self.log += [(now, batch) for batch in batches]

    def counted(self) -> list[OutcomeEvent]:
        sent: dict[str, dict[int, bytes]] = {}
        found: list[OutcomeEvent] = []
        for _, batch in self.log:
            known = sent.setdefault(batch.producer, {})
            if batch.sequence in known:
                assert known[batch.sequence] == batch.payload, "sent again, with other bytes"
                continue
            assert batch.sequence == len(known) + 1, "a gap"
            known[batch.sequence] = batch.payload
            found += unpacked(batch.payload)
        return found


def deliver(box: Outbox, server: ForgetfulServer, now: int, rng: random.Random | None = None) -> int:
    """All windows, or with `rng` until a connection fails, before or after the server has taken the window."""
    confirmed = 0
    for window in box.windows():
        if box.meet(server.life, now):
            continue
        fails = rng is not None and rng.random() < 0.3
        if not fails or (rng and rng.random() < 0.5):
            server.take(window.batches, now)
        confirmed += box.confirm(window, [ConnectionError()] if fails else [b"1-0"] * len(window.batches), now)[0]
        if fails:
            box.cut_off()
            break
    return confirmed


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000), st.integers(0, 2)), max_size=25), st.randoms())
def test_what_a_crash_within_the_window_takes_back_is_delivered_again_in_order(
    steps: list[tuple[int, int, int]], rng: random.Random
) -> None:
    """Any end of the log may be lost, as often as it likes; each event counts once, and `sent` counts it once too."""
    box, server, now, total, confirmed = outbox(events=2), ForgetfulServer(), NOW, 0, 0
    for n, milliseconds, fate in steps:
        box.seal([event(number) for number in range(total, total + n)], now)
        total += n
        confirmed += deliver(box, server, now, rng)
        if fate == 0:
            server.lose(now - rng.randint(0, RESEND_MILLISECONDS))
        now += milliseconds
    box.seal([event(total)], now)
    confirmed += deliver(box, server, now)
    assert [found.unit_id for found in server.counted()] == [f"user-{number}" for number in range(total + 1)]
    assert confirmed == total + 1


def test_a_server_that_does_not_say_who_it_is_gets_the_window_after_every_failed_connection() -> None:
    box, nameless = outbox(), Life(None, None)
    box.seal([event(1)], NOW)
    assert not box.meet(nameless, NOW)
    (first,) = send_all(box)
    assert not box.meet(nameless, NOW)
    box.cut_off()
    assert box.meet(nameless, NOW)
    assert [batch.payload for batch in send_all(box)] == [first.payload]
    assert not box.meet(nameless, NOW)


def test_a_connection_that_fails_to_the_same_server_costs_no_repetition() -> None:
    box, life = outbox(), Life("run", "log")
    box.seal([event(1)], NOW)
    box.meet(life, NOW)
    send_all(box)
    box.cut_off()
    assert not box.meet(life, NOW)
    assert not box


@pytest.mark.parametrize("found", [Life("another", "log"), Life("run", "another"), Life("run", None)])
def test_a_loss_older_than_the_window_spoils_nothing_that_follows(found: Life) -> None:
    box, later = outbox(), NOW + RESEND_MILLISECONDS + 1
    box.meet(Life("run", "log"), NOW)
    for number, now in ((1, NOW), (2, later)):
        box.seal([event(number)], now)
        send_all(box, now)
    assert box.meet(found, later)
    box.seal([event(3)], later)
    again, fresh = send_all(box, later)
    assert (again.producer, again.sequence) == ("producer-1", 2), "older than the window is not kept"
    assert (fresh.producer, fresh.sequence) == ("producer-2", 1)


def test_what_is_sealed_in_an_outage_is_not_spoilt_by_an_older_loss_and_a_long_one_takes_one_name() -> None:
    box = outbox()
    box.seal([event(1)], NOW)
    send_all(box)
    for number in (2, 3):
        box.cut_off()
        box.seal([event(number)], NOW)
    assert [(b.producer, b.sequence) for b in send_all(box)] == [("producer-2", 1), ("producer-2", 2)]


def test_what_is_kept_stays_within_its_bytes_and_is_the_newest() -> None:
    box = outbox(events=100)
    box.meet(Life("run", "log"), NOW)
    box.seal([event(number, features={"text": "x" * 7000}) for number in range(6000)], NOW)
    everything = send_all(box)
    assert box.meet(Life("another", "log"), NOW)
    again = send_all(box)
    assert sum(len(batch.payload) for batch in again) <= MAX_KEPT_BYTES
    assert [batch.payload for batch in again] == [batch.payload for batch in everything[-len(again) :]]
    assert len(again) > 1


def test_what_was_confirmed_half_a_day_ago_is_not_sent_again() -> None:
    """The fold may have forgotten the producer, and would count it twice or complain."""
    box = outbox()
    box.meet(Life("run", "log"), NOW)
    box.seal([event(1)], NOW)
    send_all(box)
    box.meet(Life("another", "log"), NOW + IDLE_MILLISECONDS + 1)
    assert not box
