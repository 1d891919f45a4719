"""Forgetting reaches the proposal and nothing else: split, harm, claims, report and `min_trials` count in full."""

from __future__ import annotations

from typing import Any

import pytest

from logs import HOUR
from trimtab.engine import decide
from trimtab.schema.decision import Decision, HoldCode, Inputs, Outcome
from trimtab_worker.services.evidence import parse_tests
from trimtab_worker.services.report import report
from unit.services.test_evidence import EAGER, Running

FORGETFUL = {"half_life_seconds": 60.0}


def after_a_day(n: dict[str, int], crashed: dict[str, float] | None = None, **changes: Any) -> tuple[Running, Decision]:
    """Outcomes of yesterday, one of today, and what is decided from them."""
    running = Running(**changes)
    running.outcomes(n, crashed)
    running.log.control.halt("checkout", "b", reason="so that an epoch ends")
    running.log.control.resume("checkout")
    running.log.clock.now += 24 * HOUR
    running.outcomes({"control": 1}, epoch=2, occurred_at=running.log.clock.now)
    return running, running.recompute()


def test_harm_of_yesterday_still_halts_today() -> None:
    """Faded by 2⁻¹⁴⁴⁰ there would be nothing left to find. (What a person excused stays excused, hence c.)"""
    variants = [{"id": v} for v in ("control", "b", "c")]
    n = {"control": 3000, "b": 10, "c": 3000}
    _, decision = after_a_day(n, crashed={"c": .08}, variants=variants, **FORGETFUL)
    assert decision.outcome is Outcome.HALT
    assert decision.parts["c"] == 0
    assert 0 < sum(decision.inputs.faded_trials or ()) < .01, "teeth: to the proposal it is gone"


def test_a_split_that_was_wrong_yesterday_still_holds_today() -> None:
    _, decision = after_a_day({"control": 3000, "b": 2000}, **FORGETFUL)
    assert HoldCode.SAMPLE_RATIO in {reason.code for reason in decision.reasons}


def test_claims_and_report_are_the_same_with_and_without_forgetting() -> None:
    """The test's looks, intervals and effects; only the weights differ."""
    n = {"control": 3000, "b": 3000}
    (plain, kept), (forgetful, faded) = after_a_day(n), after_a_day(n, **FORGETFUL)
    stores = [(running.log.store, running.log.publications.read("checkout")) for running in (plain, forgetful)]
    tests = [parse_tests(current.claims) for _, current in stores if current]
    assert tests[0] == tests[1]
    documents = [report(store, current).document() for store, current in stores if current]
    assert documents[0]["metrics"] == documents[1]["metrics"]
    assert kept.posterior["b"].effect_sd < .3 < faded.posterior["b"].effect_sd, "teeth: the weights know nothing"


def test_trials_of_yesterday_count_towards_the_least_number_in_full() -> None:
    _, decision = after_a_day({"control": 3000, "b": 3000}, constraints=EAGER | {"min_trials": 3000}, **FORGETFUL)
    assert HoldCode.MIN_TRIALS not in {reason.code for reason in decision.reasons}
    assert decision.inputs.trials == (3000, 3001)
    assert (decision.inputs.faded_trials or ())[0] == pytest.approx(0, abs=1e-9)


def test_a_decision_with_forgetting_replays_from_the_ledger() -> None:
    """No clock is asked again: what had faded stays as it was."""
    _, decision = after_a_day({"control": 3000, "b": 3000}, half_life_seconds=24 * 3600.0)
    inputs = Inputs.model_validate_json(decision.inputs.model_dump_json())
    again = decide(inputs)
    assert (again.parts, again.basis) == (decision.parts, decision.basis)
    assert sum(inputs.faded_trials or ()) == pytest.approx(3000, rel=.01)
    assert "Outcomes count half after each 24 hours: 6,001 trials amount to 3," in decision.basis


def test_while_the_log_is_silent_nothing_fades() -> None:
    """The wall clock says a day, the log's clock nothing."""
    running = Running(**FORGETFUL)
    running.outcomes({"control": 3000, "b": 3000})
    running.log.clock.now += 24 * HOUR
    assert sum(running.recompute().inputs.faded_trials or ()) == pytest.approx(6000)
