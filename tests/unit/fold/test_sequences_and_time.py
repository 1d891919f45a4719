"""Batches in sequence, the log's clock, epochs and compaction: each rule where it bites."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from faults.reporting import Check
from logs import HOUR, NOW, Log, batch, definition, event
from trimtab.fold.state import MOST_RANGES, Producer
from trimtab.schema.control import ClockTick, Compaction, Define, StatusChange
from trimtab.schema.experiment import MAX_VARIANTS, Experiment, Status, Variant
from trimtab_worker.services.rebuild import rebuild


def numbered(log: Log, sequence: int, producer: str = "p", n: int = 10, **changes: Any) -> None:
    log.columns(batch([event()] * n, producer=producer, sequence=sequence, **changes))


def test_a_batch_sent_again_counts_once() -> None:
    log = Log()
    for sequence in (1, 2, 2, 1, 3):
        numbered(log, sequence)
    report = log.drain()
    assert (report.folded, report.duplicates) == (30, 20)


@given(st.lists(st.integers(1, 60), max_size=80))
def test_each_number_counts_once_in_whatever_order_batches_come(numbers: list[int]) -> None:
    """6 is refused by the server, 7 arrives, then both are sent again: nothing vanishes, nothing counts twice."""
    log = Log()
    for sequence in numbers:
        numbered(log, sequence, n=1)
        log.drain()
    log.drain()
    known = log.store.load().producers.get("p", Producer(0, 0))
    come = {number for number in range(1, 61) if known.has(number)}
    assert come <= set(numbers)
    assert log.cell("b").n == len(come)
    assert len(known.missing) <= MOST_RANGES
    assert come == set(numbers) or "sequence_gap" in log.dead_codes()
    counters = log.store.load().counters
    assert counters["skipped_batches"] - counters["late_batches"] == known.n_missing == known.sequence - len(come)
    assert rebuild(log.store, verify=True).identical
    if come:
        assert Producer.parse(str(known)) == known


def test_a_batch_that_never_counted_costs_itself_and_none_that_follows() -> None:
    """It was refused as forged while signatures were demanded, say; its publisher believes it to be in the log."""
    log = Log()
    for sequence in (1, 2, 4, 5, 5, 9, 10):
        numbered(log, sequence)
    assert log.drain().folded == 60
    assert log.dead_codes() == []
    assert log.store.load().counters["skipped_batches"] == 4


def test_who_leaves_out_more_than_can_be_kept_is_refused_and_may_send_those_between() -> None:
    log = Log()
    odd = range(3, 2 * MOST_RANGES + 4, 2)
    for sequence in (1, *odd):
        numbered(log, sequence, n=1)
    assert log.drain().folded == MOST_RANGES + 1
    assert log.dead_codes() == ["sequence_gap"]
    for sequence in range(1, max(odd) + 1):
        numbered(log, sequence, n=1)
    log.drain()
    assert log.cell("b").n == max(odd)
    assert log.store.load().producers["p"].missing == ()


def test_a_batch_refused_for_its_time_does_not_hold_up_those_after_it() -> None:
    """A producer whose clock was wrong for a moment loses that batch (dead letter), not all that follow."""
    log = Log()
    numbered(log, 1)
    numbered(log, 2, sent_at=NOW + HOUR)
    numbered(log, 3)
    assert log.drain().folded == 20
    assert log.dead_codes() == ["future"]


def test_producers_do_not_disturb_each_other() -> None:
    log = Log()
    for producer in ("p", "q", "r"):
        for sequence in (1, 2):
            numbered(log, sequence, producer)
    assert log.drain().folded == 60


def test_a_producer_is_forgotten_after_the_horizon_and_its_old_batches_are_refused() -> None:
    """A batch cannot come back after its producer was forgotten: it is then too old itself."""
    log = Log()
    numbered(log, 1)
    log.drain()
    log.clock.now += 49 * HOUR
    log.control.hold("checkout", reason="moves the log's clock")
    log.drain()
    assert log.store.load().producers == {}
    numbered(log, 1)
    assert log.drain().folded == 0
    assert log.dead_codes() == ["too_late"]


@given(st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=5))
def test_a_publisher_is_known_as_long_as_it_may_repeat_itself_however_long_the_log_was_silent(
    silences: list[tuple[int, bool]],
) -> None:
    """Workers and beat were off for days, and the publishers came back first: the log's clock leaps behind them."""
    log = Log()
    for place, (hours, told) in enumerate(silences):
        log.clock.now += hours * HOUR
        now = {"sent_at": log.clock.now, "base": log.clock.now, "offsets": [0] * 10}
        for sequence in (1, 2):
            numbered(log, sequence, f"p{place}", **now)
        if told:
            log.store.append("control", ClockTick(at=log.clock.now).model_dump_json().encode())
        for sequence in (2, 1, 3):
            numbered(log, sequence, f"p{place}", **now)
    report = log.drain()
    assert (report.folded, report.duplicates) == (30 * len(silences), 20 * len(silences))
    assert log.dead_codes() == []


def test_a_batch_from_the_future_is_not_remembered_until_then() -> None:
    log = Log()
    numbered(log, 1, sent_at=NOW + 10_000 * HOUR)
    log.clock.now += 49 * HOUR
    log.store.append("control", ClockTick(at=log.clock.now).model_dump_json().encode())
    log.drain()
    assert log.store.load().producers == {}


def test_an_import_is_exempt_from_lateness_and_never_forgotten() -> None:
    log = Log()
    numbered(log, 1, origin="import", base=NOW - 10_000 * HOUR, sent_at=NOW - 10_000 * HOUR)
    log.drain()
    log.clock.now += 1000 * HOUR
    log.store.append("control", ClockTick(at=log.clock.now).model_dump_json().encode())
    numbered(log, 1, origin="import", base=NOW - 10_000 * HOUR, sent_at=log.clock.now)
    report = log.drain()
    assert (report.folded, report.duplicates) == (0, 10)


def test_a_duplicate_counts_once_within_48_hours_and_is_too_late_after(check: Check) -> None:
    """EO-12 and EO-13; each variant tells what became of one event, which happens as an hour ends."""
    sent_again = ("in-one-batch", "across-batches", "across-the-hour", "after-47-h")
    log = Log(variants=[{"id": name} for name in sent_again])
    log.clock.now += HOUR - log.clock.now % HOUR - 1
    happened = log.clock.now
    events = {name: event(variant=name, event_id=name, occurred_at=happened) for name in sent_again}

    def send(*names: str) -> None:
        log.columns(batch([events[name] for name in names], sent_at=log.clock.now))
        log.drain()

    send(*sent_again, "in-one-batch")
    send("across-batches")
    log.clock.now += 1
    send("across-the-hour")
    log.clock.now = happened + 47 * HOUR
    send("after-47-h")
    check("EO-12", dict.fromkeys(sent_again, 1), {name: log.cell(name).n for name in sent_again})
    assert log.store.load().counters["duplicates"] == len(sent_again)
    log.clock.now = happened + 49 * HOUR
    send("after-47-h")
    check("EO-13", (["too_late"], 0), (log.dead_codes(), log.cell("after-47-h").n - 1))


def test_marks_are_deleted_when_the_clock_of_the_log_passes_them() -> None:
    log = Log()
    for place in range(1000):
        log.row(event(event_id=f"e{place}"))
    log.drain()
    assert sum(log.store.load().scopes.values()) == 1000
    log.clock.now += 50 * HOUR
    log.control.hold("checkout", reason="moves the log's clock")
    log.drain()
    assert log.store.load().scopes == {}
    assert [name for name in log.store.dump() if name.startswith("seen")] == []


def test_events_after_a_week_of_silence_are_of_today() -> None:
    """Nobody told the log the time meanwhile; its entries did, and no live event is of the future for that."""
    log = Log()
    log.drain()
    log.clock.now += 170 * HOUR
    log.row(event(occurred_at=log.clock.now))
    log.columns(batch([event(occurred_at=log.clock.now)], base=log.clock.now, offsets=[0], sent_at=log.clock.now))
    assert log.drain().folded == 2
    log.row(event(occurred_at=log.clock.now + HOUR))
    assert log.drain().folded == 0, "but the future still is"


def test_a_forged_entry_id_does_not_move_the_clock() -> None:
    log = Log()
    log.drain()
    before = log.store.load().clock
    log.store.append_at(before + 10**12, "event", b"{}")  # type: ignore[attr-defined]
    log.drain()
    assert log.store.load().clock == before
    assert log.store.load().counters["implausible_ids"] == 1
    log.row(event())
    assert log.drain().folded == 1, "outcomes are still counted after the forgery"


def test_events_go_to_the_epoch_they_name_or_were_exposed_in_or_that_is_in_force() -> None:
    log = Log()
    log.clock.now += HOUR
    log.control.halt("checkout", "b", reason="makes a second epoch")
    log.row(event(epoch=1))
    log.row(event(epoch=None, exposed_at=NOW + HOUR // 2))
    log.row(event(epoch=None, exposed_at=NOW + HOUR))
    log.row(event(epoch=None))
    log.columns(batch([event(epoch=None, exposed_at=NOW), event(epoch=None), event(epoch=None, exposed_at=NOW - HOUR)]))
    log.drain()
    assert (log.cell("b", epoch=1).n, log.cell("b", epoch=2).n) == (3, 3)
    assert log.state().counters["unstamped"] == 2
    assert log.dead_codes() == ["unknown_epoch"]


def test_compaction_merges_cells_for_good_and_late_events_follow() -> None:
    log = Log()
    for reason in ("second", "third"):
        log.clock.now += HOUR
        log.control.halt("checkout", "b", reason=reason)
        log.control.resume("checkout")
        log.clock.now += HOUR
        log.control.update("checkout", {"recompute_seconds": 5})
    epochs = sorted({1, log.publications.read("checkout").allocation.epoch})  # type: ignore[union-attr]
    for epoch in epochs:
        log.row(event(epoch=epoch, occurred_at=log.clock.now))
    log.drain()
    last = epochs[-1]
    order = Compaction(at=log.clock.now, experiment_id="checkout", into={last: 1})
    log.store.append("control", order.model_dump_json().encode())
    log.row(event(epoch=last, occurred_at=log.clock.now))
    log.drain()
    assert log.cell("b").n == len(epochs) + 1
    assert log.cell("b", epoch=last).n == 0
    assert last not in log.state().epochs


def test_an_experiment_that_was_stopped_in_the_log_does_not_open_again() -> None:
    """A hold that lost its race to a stop stays in the log behind it, and does no harm there."""
    log = Log(unit="unit")
    log.row(event(unit_id="u1"))
    for status in ("stopped", "held", "running"):
        order = StatusChange(at=log.clock.now, experiment_id="checkout", status=Status(status))
        log.store.append("control", order.model_dump_json().encode())
    log.row(event(unit_id="u1"))
    log.row(event(unit_id="u2"))
    assert log.drain().folded == 1
    assert log.state().status is Status.STOPPED


def test_a_definition_that_lost_its_race_takes_no_variant_away_and_changes_no_metric() -> None:
    log = Log()
    live = log.control.show("checkout").experiment
    log.control.add_variant("checkout", "c")
    for changes in ({"variants": (*live.variants, Variant(id="d"))}, {"unit": "unit"}, {"metrics": live.metrics[:1]}):
        order = Define(at=log.clock.now, experiment=live.model_copy(update=changes))
        log.store.append("control", order.model_dump_json().encode())
    log.row(event(variant="c", metrics={"converted": 1, "amount": 3}))
    assert log.drain().folded == 1
    assert log.cell("c", "amount").n == 1
    assert log.state().definition.variant_ids == ("control", "b", "c", "d")


def valid(others: set[str], last: str, tight: bool, weighted: bool, cap: int | None) -> Experiment:
    """A definition that holds by itself: its floors may leave nothing over, and its control may be another variant."""
    ids = [*sorted(others), last]
    first = {"initial_weight": 1 / len(ids)} if weighted else {}
    variants = [{"id": name, **first} for name in ids] + [{"id": "control", "retired": True}] * (last != "control")
    limits = {"min_weight": 1 / len(ids)} if tight else {"min_weight": 0, "ceilings": {last: 1 / len(ids)}}
    return Experiment.parse(definition(
        variants=variants, control=last, constraints=limits, max_outcomes_per_unit_hour=cap, exposure_tokens=False,
    ))  # fmt: skip


def test_a_definition_written_for_an_older_revision_says_nothing_any_more() -> None:
    """Whoever ordered it stood still between reading and writing, while others went on."""
    log = Log(max_outcomes_per_unit_hour=1)
    stale = log.control.show("checkout")
    log.control.update("checkout", {"max_outcomes_per_unit_hour": 5})
    log.control.add_variant("checkout", "c")
    order = Define(at=log.clock.now, experiment=stale.experiment, revision=stale.revision + 1)
    log.store.append("control", order.model_dump_json().encode())
    log.drain()
    assert log.state().definition == log.control.show("checkout").experiment
    assert rebuild(log.store, verify=True).identical


definitions = st.builds(
    valid, st.sets(st.sampled_from("bcde")), st.sampled_from(["control", "z"]), st.booleans(), st.booleans(),
    st.none() | st.integers(1, 9),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(definitions, min_size=1, max_size=4))
def test_definitions_that_raced_leave_a_state_that_can_be_read_and_knows_all_variants(rivals: list[Experiment]) -> None:
    """Each holds by itself; together their floors or first weights need not. The state is loaded each time."""
    log, named = Log(), {"control", "b"}
    for experiment in rivals:
        log.store.append("control", Define(at=log.clock.now, experiment=experiment).model_dump_json().encode())
        log.drain()
        named |= set(experiment.variant_ids)
        found = log.state().definition
        assert (set(found.variant_ids), found.control) == (named, "control")
        assert found.max_outcomes_per_unit_hour == experiment.max_outcomes_per_unit_hour
    for variant in sorted(named):
        log.row(event(variant=variant, unit_id=variant))
    assert log.drain().folded == len(named)
    assert rebuild(log.store, verify=True).identical


def test_of_definitions_that_raced_no_more_variants_are_known_than_an_experiment_may_have() -> None:
    log = Log(constraints={"min_weight": 0})
    live = log.control.show("checkout").experiment
    for first in (0, MAX_VARIANTS):
        many = tuple(Variant(id=f"v{first + number}") for number in range(MAX_VARIANTS - 2))
        order = Define(at=log.clock.now, experiment=live.model_copy(update={"variants": (*live.variants, *many)}))
        log.store.append("control", order.model_dump_json().encode())
    log.drain()
    assert len(log.state().definition.variants) == MAX_VARIANTS
