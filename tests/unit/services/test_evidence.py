"""What stops or questions an experiment by itself: harm, a split other than the one served, and recorded looks."""

from __future__ import annotations

import random
from typing import Any

from logs import Log, batch, event
from trimtab.schema.decision import Decision, HoldCode, Outcome
from trimtab_worker.services.evidence import parse_tests
from trimtab_worker.services.reallocate import Reallocate

EAGER = {"min_trials": 300, "max_step": 0.2, "min_weight": 0.05, "cooldown_seconds": 0}
METRICS = [
    {"name": "converted", "kind": "binary", "primary": True},
    {"name": "crashed", "kind": "binary", "direction": "decrease", "harm_limit": 0.01},
]


class Running:
    """An experiment that counts units, and outcomes at given rates for its variants."""

    def __init__(self, **changes: Any) -> None:
        self.log = Log(**({"constraints": EAGER, "metrics": METRICS, "unit": "unit"} | changes))
        self.reallocate = Reallocate(self.log.publications, lambda _: self.log.store)
        self.rng = random.Random(7)
        self.units = 0

    def outcomes(self, n: dict[str, int], crashed: dict[str, float] | None = None, **stamp: Any) -> None:
        epoch = self.log.control.show("checkout").allocation.epoch  # type: ignore[union-attr]
        rows = []
        for variant, count in n.items():
            for _ in range(count):
                self.units += 1
                metrics = {
                    "converted": int(self.rng.random() < 0.1),
                    "crashed": int(self.rng.random() < (crashed or {}).get(variant, 0.02)),
                }
                rows.append(event(variant=variant, unit_id=f"u{self.units}", metrics=metrics, epoch=epoch) | stamp)
        self.rng.shuffle(rows)
        self.log.columns(batch(rows))
        self.log.drain()

    def recompute(self) -> Decision:
        self.log.clock.now += 1000
        self.log.store.report_drain()
        return self.reallocate.recompute("checkout")


def codes(decision: Decision) -> set[HoldCode]:
    return {reason.code for reason in decision.reasons}


def test_a_variant_that_harms_is_halted_at_once_and_the_sentence_says_why() -> None:
    running = Running()
    running.outcomes({"control": 3000, "b": 3000}, crashed={"b": 0.08})
    decision = running.recompute()
    assert decision.outcome is Outcome.HALT
    assert decision.parts == {"control": 1_000_000, "b": 0}, "outside the step limit"
    assert "crashed" in decision.sentence
    current = running.log.control.show("checkout")
    assert (current.halted, current.parts) == (("b",), decision.parts)
    assert running.recompute().parts["b"] == 0, "until a person resumes it"


def test_a_variant_that_a_person_resumes_is_not_halted_again_for_the_same_data() -> None:
    running = Running()
    running.outcomes({"control": 3000, "b": 3000}, crashed={"b": 0.08})
    running.recompute()
    running.log.control.resume("checkout", reason="the crash is fixed")
    assert running.recompute().outcome is not Outcome.HALT
    assert running.log.control.show("checkout").halted == ()


def test_a_variant_resumed_after_a_halt_for_another_reason_is_halted_once_it_harms() -> None:
    """Halted by hand in an incident that was not its own: nobody has excused harm that it does later."""
    running = Running()
    running.outcomes({"control": 1000, "b": 1000})
    running.log.control.halt("checkout", "b", reason="the database")
    running.log.control.resume("checkout", reason="it is back")
    running.recompute()
    running.outcomes({"control": 3000, "b": 3000}, crashed={"b": 0.3}, epoch=1)
    assert running.recompute().outcome is Outcome.HALT


def test_harm_that_was_excused_is_halted_again_once_it_had_ceased_and_comes_back() -> None:
    running = Running()
    running.outcomes({"control": 3000, "b": 3000}, crashed={"b": 0.08})
    running.recompute()
    running.log.control.resume("checkout", reason="the crash is fixed")
    assert running.recompute().outcome is not Outcome.HALT
    for _ in range(4):
        running.outcomes({"control": 5000, "b": 5000}, epoch=1)
    assert running.recompute().outcome is not Outcome.HALT
    for _ in range(2):
        running.outcomes({"control": 5000, "b": 5000}, crashed={"b": 0.2}, epoch=1)
    assert running.recompute().outcome is Outcome.HALT


def test_harmless_variants_are_not_halted() -> None:
    running = Running()
    for _ in range(5):
        running.outcomes({"control": 1000, "b": 1000})
        assert running.recompute().outcome is not Outcome.HALT


def test_a_split_that_is_not_the_one_served_holds_the_weights() -> None:
    running = Running()
    running.outcomes({"control": 3000, "b": 2400})
    decision = running.recompute()
    assert HoldCode.SAMPLE_RATIO in codes(decision)
    assert decision.parts == {"control": 500_000, "b": 500_000}


def test_a_wrong_split_holds_until_units_that_arrive_as_served_outweigh_it_and_the_decision_says_so() -> None:
    """No order ends it, so none is named."""
    running = Running()
    running.outcomes({"control": 3000, "b": 2400})
    running.log.control.hold("checkout", reason="the split")
    running.log.control.resume("checkout", reason="repaired")
    decision = running.recompute()
    assert HoldCode.SAMPLE_RATIO in codes(decision)
    assert "units that arrive as served outweigh" in decision.would_move
    assert "resume" not in decision.would_move
    for _ in range(3):
        running.outcomes({"control": 4000, "b": 4000}, epoch=1)
    assert HoldCode.SAMPLE_RATIO not in codes(running.recompute())


def test_units_of_a_variant_that_was_served_to_nobody_hold_the_weights() -> None:
    running = Running()
    running.log.control.halt("checkout", "b", reason="a look")
    running.outcomes({"control": 1000, "b": 40})
    assert HoldCode.LEAK in codes(running.recompute())


def test_events_without_an_epoch_say_nothing_about_the_split() -> None:
    """A replayed log, or a producer that does not stamp: their split was not made by our weights."""
    running = Running()
    running.outcomes({"control": 3000, "b": 2000}, epoch=None)
    assert codes(running.recompute()) & {HoldCode.SAMPLE_RATIO, HoldCode.LEAK} == set()


def test_where_events_are_counted_neither_split_nor_harm_is_judged() -> None:
    running = Running(unit="event")
    running.outcomes({"control": 3000, "b": 2000}, crashed={"b": 0.2})
    decision = running.recompute()
    assert decision.outcome is not Outcome.HALT
    assert codes(decision) & {HoldCode.SAMPLE_RATIO, HoldCode.LEAK} == set()


def test_every_recompute_is_one_recorded_look_and_a_plan_stays_as_it_was_first_made() -> None:
    running = Running()
    plans = set()
    for looks in range(1, 5):
        running.outcomes({"control": 500, "b": 500})
        running.reallocate.recompute("checkout", dry_run=True)
        running.recompute()
        test = parse_tests(running.log.control.show("checkout").claims)["converted"]["b"]
        assert test.claim is not None
        assert test.claim.n_looks == looks, "a dry run is none"
        plans.add(test.plan)
    assert len(plans) == 1


def test_orders_leave_the_claims_as_they_are() -> None:
    running = Running()
    running.outcomes({"control": 500, "b": 500})
    running.recompute()
    before = running.log.control.show("checkout").claims
    running.log.control.hold("checkout", reason="lunch")
    assert running.log.control.show("checkout").claims == before
