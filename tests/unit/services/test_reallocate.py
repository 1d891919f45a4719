"""The recompute: from statistics to a published, explained decision."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from faults.reporting import Check
from logs import Log, batch, definition, event
from trimtab.errors import ConfigurationError, Conflict, IllegalTransition, InvalidInput
from trimtab.fold import Cell
from trimtab.schema.base import PARTS
from trimtab.schema.control import StatusChange
from trimtab.schema.decision import Decision, HoldCode, Outcome
from trimtab.schema.experiment import Status
from trimtab_worker.services.reallocate import Reallocate

EAGER = {"min_trials": 300, "max_step": 0.2, "min_weight": 0.005, "cooldown_seconds": 0}


def running(**changes: object) -> tuple[Log, Reallocate]:
    log = Log(**({"constraints": EAGER} | changes))
    return log, Reallocate(log.publications, lambda _: log.store)


def outcomes(log: Log, n: int = 2000, seed: int = 1, experiment: str = "checkout", **rates: float) -> None:
    """n outcomes per variant at the given rates, in the epoch in force, folded."""
    rng = random.Random(seed)
    current = log.control.show(experiment).allocation
    assert current is not None
    rows = [
        event(experiment_id=experiment, variant=v, epoch=current.epoch, metrics={"converted": int(rng.random() < rate)})
        for v, rate in rates.items()
        for _ in range(n)
    ]
    log.columns(batch(rows))
    log.drain()


def codes(decision: Decision) -> list[HoldCode]:
    return [reason.code for reason in decision.reasons]


def test_weights_move_towards_the_better_variant_by_at_most_a_step() -> None:
    log, reallocate = running()
    seen = [log.control.show("checkout").parts]
    for seed in range(5):
        outcomes(log, seed=seed, control=0.10, b=0.14)
        log.clock.now += 1000
        reallocate.recompute("checkout")
        seen.append(log.control.show("checkout").parts)
    assert all(abs(b["b"] - a["b"]) <= 200_000 for a, b in pairwise(seen))
    assert seen[-1]["b"] == 995_000


def test_a_jump_of_the_posterior_moves_no_part_by_more_than_the_step(check: Check) -> None:
    """DP-07: each time another variant is the best one beyond doubt, so that it wants everything at once."""
    variants = ("control", "b", "c")
    log, reallocate = running(variants=[{"id": name} for name in variants])
    log.drain()
    parts, wanted, jumps, moves = log.control.show("checkout").parts, dict[str, float](), [0.0], []
    for best in variants * 4:
        state = log.state()
        for name in variants:
            state.trials[1, name] = 10_000
            won = 5000 if name == best else 1000
            state.cells[1, name, "converted"] = Cell(10_000, won, won)
        log.store._state.stats["checkout"] = state.fields()  # type: ignore[attr-defined]
        decision = reallocate.recompute("checkout")
        jumps += [abs(decision.proposal[name] - wanted[name]) for name in wanted]
        moves += [abs(decision.parts[name] - parts[name]) for name in variants]
        parts, wanted = decision.parts, decision.proposal
    observed = f"the proposal jumps by {max(jumps):.0%}, a part by {max(moves):,}"
    check("DP-07", "a part by ≤ 200,000", observed, max(moves) <= 200_000 and max(jumps) > 0.99)


def test_one_variant_has_everything_at_the_start_and_after_a_decision(check: Check) -> None:
    """DP-09."""
    log, reallocate = running(variants=[{"id": "control"}])
    started = log.control.show("checkout").parts
    outcomes(log, control=0.10)
    decided = reallocate.recompute("checkout").parts
    check("DP-09", [{"control": PARTS}] * 2, [started, decided])


def test_a_move_is_published_announced_and_explained() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    decision = reallocate.recompute("checkout")
    current = log.control.show("checkout")
    assert current.allocation is not None
    assert decision.outcome is Outcome.MOVE
    assert (current.allocation.epoch, current.allocation.decision_id) == (2, decision.decision_id)
    assert current.allocation.reason == decision.sentence
    assert current.parts == decision.parts
    assert log.control.explain("checkout") == decision
    log.drain()
    assert log.state().epochs[2].parts == decision.parts


def test_a_dry_run_publishes_nothing() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    before = log.control.show("checkout")
    assert reallocate.recompute("checkout", dry_run=True).outcome is Outcome.MOVE
    assert log.control.show("checkout") == before
    assert log.store.announced("checkout") == 1


def test_without_a_drain_the_weights_hold_and_the_reason_says_so() -> None:
    log, reallocate = running()
    decision = reallocate.recompute("checkout")
    assert codes(decision)[0] is HoldCode.STALE
    assert "ingest worker" in decision.sentence
    assert decision.parts == log.control.show("checkout").parts


def test_a_drain_that_is_silent_for_three_periods_holds_the_weights(check: Check) -> None:
    """DP-06: though the evidence would move them, and moved them a period after the drain."""
    log, reallocate = running(recompute_seconds=60)
    outcomes(log, control=0.10, b=0.14)
    log.clock.now += 60_000
    assert reallocate.recompute("checkout", dry_run=True).outcome is Outcome.MOVE
    log.clock.now += 3 * 60_000
    before = log.control.show("checkout").parts
    decision = reallocate.recompute("checkout")
    after = log.control.show("checkout").parts
    check("DP-06", f"hold stale, {before}", f"{decision.outcome} {' '.join(codes(decision))}, {after}")


def test_unread_outcomes_hold_the_weights() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    log.row(event())
    log.clock.now += 200_000
    log.store.report_drain()
    assert codes(reallocate.recompute("checkout"))[0] is HoldCode.STALE


def test_a_gap_in_the_log_holds_the_weights() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    for _ in range(3):
        log.row(event())
    log.store.trim(log.store.ends().last_id)
    assert HoldCode.LOG_GAP in codes(reallocate.recompute("checkout"))


def test_too_many_dead_letters_hold_that_experiment_and_no_other(check: Check) -> None:
    """IN-03: 6 % refused, or a hundred in a row; outcomes are still folded, and good ones end the hold."""
    log, reallocate = running()
    for name in ("other", "young"):
        log.control.create(definition(id=name, constraints=EAGER | {"min_trials": 0}))
        log.control.start(name)
    outcomes(log, experiment="other", control=0.10, b=0.14)
    outcomes(log, control=0.10, b=0.14)
    log.columns(batch([event(variant="stranger")] * 60 + [event()] * 940))
    log.columns(batch([event(experiment_id="young", variant="stranger")] * 100))
    assert log.drain().folded == 940
    held = reallocate.recompute("checkout")
    found = [(each.outcome.value, codes(each)) for each in (held, *map(reallocate.recompute, ("young", "other")))]
    dead = ("hold", [HoldCode.DEAD_LETTERS])
    assert found == [dead, dead, ("move", [])]
    check("IN-03", "60 of 1,000: hold dead_letters; 100 in a row: hold dead_letters; another: move",
          "60 of 1,000: {} {}; 100 in a row: {} {}; another: {}".format(
              *(word for outcome, reasons in found for word in (outcome, *reasons))))  # fmt: skip
    assert (held.outcome, held.parts) == (Outcome.HOLD, {"control": 500_000, "b": 500_000})
    assert "More than 50 of the last 1,000 events were refused, mostly as unknown_variant" in held.sentence
    assert held.reasons[0].numbers["dead_unknown_variant"] == 60
    outcomes(log, n=500, control=0.10, b=0.14)
    assert reallocate.recompute("checkout").outcome is Outcome.MOVE


def test_a_paused_experiment_is_republished_with_the_pause_as_reason() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    log.control.hold("checkout", reason="incident 7")
    decision = reallocate.recompute("checkout")
    assert codes(decision)[0] is HoldCode.PAUSED
    assert "incident 7" in decision.sentence
    current = log.control.show("checkout")
    assert current.allocation is not None
    assert (current.revision, current.allocation.epoch) == (decision.revision, 1)


def test_repeated_holds_are_one_entry_with_a_count() -> None:
    log, reallocate = running()
    log.drain()
    first = reallocate.recompute("checkout")
    for _ in range(4):
        log.clock.now += 1000
        last = reallocate.recompute("checkout")
    assert (last.decision_id, last.count, last.revision) == (first.decision_id, 5, first.revision + 4)
    entries = log.publications.ledger("checkout", 100)
    assert [entry.decision_id for entry in entries] == [first.decision_id, 1]
    outcomes(log, control=0.10, b=0.14)
    assert reallocate.recompute("checkout").decision_id == first.decision_id + 1


def test_cooldown_is_measured_from_the_last_change() -> None:
    log, reallocate = running(constraints=EAGER | {"cooldown_seconds": 60})
    outcomes(log, control=0.10, b=0.14)
    assert reallocate.recompute("checkout").outcome is Outcome.MOVE, "the first change waits for nothing"
    log.clock.now += 59_000
    log.drain()
    assert codes(reallocate.recompute("checkout")) == [HoldCode.COOLDOWN]
    log.clock.now += 1_000
    assert reallocate.recompute("checkout").outcome is Outcome.MOVE


def test_nothing_is_recomputed_before_the_start_and_after_the_stop() -> None:
    log, reallocate = running()
    log.control.stop("checkout")
    with pytest.raises(IllegalTransition, match="stopped"):
        reallocate.recompute("checkout")


def test_a_slow_recompute_loses_to_whoever_published_meanwhile() -> None:
    """DP-02: the weights of the faster one stay, and the epoch that was announced in vain is never served."""
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    stale = log.publications.read("checkout")
    log.control.hold("checkout", reason="first")
    slow = Reallocate(log.publications, lambda _: log.store)
    read, log.publications.read = log.publications.read, lambda _: stale  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        slow.recompute("checkout")
    log.publications.read = read  # type: ignore[method-assign]
    assert log.control.show("checkout").paused == "first"
    log.control.resume("checkout")
    assert reallocate.recompute("checkout").epoch == 3


def test_a_slot_is_due_once_even_for_two_beats() -> None:
    log, reallocate = running(recompute_seconds=10)
    now = log.clock.now
    assert reallocate.due(now) == ["checkout"]
    assert reallocate.due(now) == []
    assert reallocate.due(now + 10_000) == ["checkout"]
    log.control.stop("checkout")
    assert reallocate.due(now + 20_000) == []


def test_a_decision_is_overdue_after_two_periods() -> None:
    log, reallocate = running(recompute_seconds=10)
    assert reallocate.overdue(0, log.clock.now + 20_000) == []
    assert reallocate.overdue(0, log.clock.now + 20_001) == ["checkout"]
    assert reallocate.overdue(1, log.clock.now + 20_001) == []


def test_a_variant_added_later_enters_at_its_floor_and_waits_there_for_its_evidence(check: Check) -> None:
    """DP-11: at its floor at once, there until it has 300 trials, and nobody's share ever jumps beyond the step."""
    log, reallocate = running(constraints=EAGER | {"min_weight": 0.05})
    outcomes(log, control=0.10, b=0.14)
    reallocate.recompute("checkout")
    log.control.add_variant("checkout", "c")
    seen = [log.control.show("checkout").parts]
    log.drain()
    seen.append(reallocate.recompute("checkout").parts)
    for n in (100, 300, 300):
        outcomes(log, n=n, control=0.10, b=0.14, c=0.5)
        seen.append(reallocate.recompute("checkout").parts)
    assert seen[2]["b"] != seen[1]["b"], "while the others move"
    shares = [parts["c"] for parts in seen]
    jump = max(abs(after[name] - before[name]) for before, after in pairwise(seen) for name in after)
    check("DP-11", "c: 0, 50,000, 50,000, then up; steps ≤ 200,000",
          f"c: {', '.join(f'{share:,}' for share in shares)}; steps ≤ {jump:,}",
          shares[:3] == [0, 50_000, 50_000] and shares[2] < shares[3] < shares[4] and jump <= 200_000)  # fmt: skip


def test_at_a_low_floor_a_late_variant_waits_where_its_evidence_comes_soon_enough() -> None:
    """300 trials at the floor of .005 would take 60,000 units, at .05 they take 6,000."""
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    log.control.add_variant("checkout", "c")
    log.drain()
    decision = reallocate.recompute("checkout")
    assert decision.parts["c"] == 50_000
    assert any(
        verdict.sentence
        == "c's share rises from 0.0 % to 5.0 %: it lacks evidence and waits there for 300 more trials."
        for verdict in decision.verdicts
    )
    assert "c moves too once it has 300 more trials." in decision.would_move


def test_an_operator_chooses_where_a_late_variant_waits_and_it_gets_there_by_steps() -> None:
    log, reallocate = running()
    outcomes(log, control=0.10, b=0.14)
    log.control.add_variant("checkout", "c", weight=0.3)
    shares = []
    for _ in range(3):
        log.clock.now += 1000
        log.drain()
        shares.append(reallocate.recompute("checkout").parts["c"])
    assert shares == [200_000, 300_000, 300_000]
    for wrong in (0.001, 0, 1.5):
        with pytest.raises(ConfigurationError, match="entry_weight"):
            log.control.add_variant("checkout", "d", weight=wrong)


def test_a_late_variant_takes_from_the_others_by_evidence_not_evenly() -> None:
    """The leader keeps its lead over the one that loses, up to the step."""
    log, reallocate = running(constraints=EAGER | {"max_step": 1.0})
    outcomes(log, n=4000, control=0.10, b=0.14)
    reallocate.recompute("checkout")
    log.control.add_variant("checkout", "c", weight=0.2)
    log.drain()
    assert reallocate.recompute("checkout").parts == {"control": 5_000, "b": 795_000, "c": 200_000}


def test_a_retired_variant_has_no_traffic_at_once_and_its_history_stays(check: Check) -> None:
    """DP-10."""
    log, reallocate = running(variants=[{"id": "control"}, {"id": "b"}, {"id": "c"}])
    outcomes(log, control=0.10, b=0.14, c=0.12)
    log.control.retire_variant("checkout", "b", reason="too slow")
    assert log.control.show("checkout").parts == {"control": 500_000, "b": 0, "c": 500_000}
    outcomes(log, control=0.10, c=0.14)
    log.row(event(variant="b", epoch=1))
    log.drain()
    parts = reallocate.recompute("checkout").parts
    check("DP-10", f"b 0 of {PARTS:,}, its history 2,001 outcomes, the late one too",
          f"b {parts['b']:,} of {sum(parts.values()):,}, its history {log.cell('b').n:,} outcomes, "
          "the late one too")  # fmt: skip


@pytest.mark.parametrize(
    "variants",
    [
        [{"id": "control"}],
        [{"id": "b"}, {"id": "control"}],
        [{"id": "control", "retired": True}, {"id": "b"}],
        [{"id": "control"}, {"id": "b"}, {"id": "b"}],
    ],
)
def test_variants_of_a_live_experiment_are_never_removed_moved_or_used_twice(variants: list[dict[str, object]]) -> None:
    log, _ = running()
    with pytest.raises(ConfigurationError):
        log.control.update("checkout", {"variants": variants})


def test_a_retired_variant_does_not_come_back() -> None:
    log, _ = running(variants=[{"id": "control"}, {"id": "b"}, {"id": "c"}])
    log.control.retire_variant("checkout", "b")
    with pytest.raises(ConfigurationError, match="for good"):
        log.control.update("checkout", {"variants": [{"id": "control"}, {"id": "b"}, {"id": "c"}]})
    with pytest.raises(InvalidInput):
        log.control.conclude("checkout", "b")


def test_a_stop_that_died_half_way_is_named_until_it_is_ordered_again() -> None:
    log, reallocate = running()
    order = StatusChange(at=log.clock.now, experiment_id="checkout", status=Status.STOPPED)
    log.store.append("control", order.model_dump_json().encode())
    log.drain()
    decision = reallocate.recompute("checkout")
    assert codes(decision)[0] is HoldCode.NOT_RUNNING
    assert "order the stop again" in decision.sentence
    log.control.stop("checkout")
    assert log.control.show("checkout").status is Status.STOPPED
