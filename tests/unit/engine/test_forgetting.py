"""Forgetting: how much epochs still count, and that nothing but the proposal knows of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.engine import Cells, decide, estimate, retention
from trimtab.schema.decision import HoldCode, Inputs
from trimtab.schema.experiment import MetricKind
from unit.engine.given import Sums, binary, binary_rows, cells_of, inputs_of, values_cell

DAY = 86_400
FREE = {"min_trials": 0, "max_step": 1.0, "min_weight": 0.0}


def test_an_epoch_that_was_short_counts_two_to_the_minus_its_age() -> None:
    """γ = 2^(−age/half-life): after one, two and ten half-lives."""
    ages = (10, 2, 1)
    started = {epoch: -1000 * DAY * age for epoch, age in enumerate(ages)}
    minutes = {epoch + 10: at + 60_000 for epoch, at in started.items()}
    found = retention(started | minutes, 0, DAY)
    assert [found[epoch] for epoch in started] == pytest.approx([2.0**-age for age in ages], rel=1e-3)


def test_an_epoch_that_stays_in_force_keeps_counting_what_came_lately() -> None:
    """Ten half-lives of even traffic amount to h/ln 2 of it, as outcomes that fade one by one do; not to 2⁻¹⁰ of it."""
    gamma = retention({1: 0}, 10 * 1000 * DAY, DAY)[1]
    one_by_one = np.mean(2.0 ** -(np.arange(0, 10, 1e-4) + 5e-5))
    assert gamma == pytest.approx(one_by_one, rel=1e-6)
    assert gamma == pytest.approx((1 - 2.0**-10) / (10 * np.log(2)), rel=1e-12)


@given(
    st.dictionaries(st.integers(1, 600), st.integers(0, 10**13), max_size=8),
    st.integers(0, 2 * 10**13),
    st.floats(1, 1e9),
)
def test_what_counts_is_a_share_that_never_grows_with_age(starts: dict[int, int], clock: int, half_life: float) -> None:
    """0 ≤ γ ≤ 1, newer epochs count no less than older ones, whatever the clock says."""
    found = retention(starts, clock, half_life)
    in_order = [found[epoch] for epoch in sorted(starts, key=lambda epoch: (starts[epoch], epoch))]
    assert found.keys() == starts.keys()
    assert all(0 <= gamma <= 1 for gamma in in_order)
    assert in_order == sorted(in_order)


def test_nothing_fades_while_the_log_is_silent() -> None:
    """Age is on the log's clock: the same clock, the same share."""
    assert retention({1: 5, 2: 50}, 70, 1) == retention({1: 5, 2: 50}, 70, 1)
    assert retention({1: 1000}, 0, 1) == {1: 1.0}  # an epoch that the clock has not reached is not in the future


@settings(max_examples=40)
@given(binary_rows(min_variants=2, max_variants=3), st.integers(0, 5))
def test_half_an_epoch_is_an_epoch_of_half_the_units(rows: list[list[Sums]], halvings: int) -> None:
    """γ multiplies n and Σy: fading doubled counts by half is not fading the counts at all."""
    factor = 2**halvings
    doubled = cells_of([[(n * factor, s * factor, q * factor) for n, s, q in row] for row in rows])
    plain = estimate(cells_of(rows), MetricKind.BINARY)
    faded = estimate(doubled, MetricKind.BINARY, np.full(len(rows), 1 / factor))
    assert faded.theta == pytest.approx(plain.theta, abs=1e-9)
    assert faded.information == pytest.approx(plain.information, abs=1e-9, rel=1e-9)
    assert faded.precision == pytest.approx(plain.precision, rel=1e-9)


@pytest.mark.parametrize("kind", list(MetricKind))
def test_an_epoch_that_has_faded_altogether_is_as_if_it_had_never_been(kind: MetricKind) -> None:
    """Also by the time 2^(−age) is 0 in floats; and its variance goes with it."""
    ones = [[values_cell([1, 0, 1, 1, 0]), values_cell([0, 0, 1, 0, 0])]]
    loud = values_cell([0, 1, 1, 1, 1] if kind is MetricKind.BINARY else [0, 90, 5, 70, 1])
    both = cells_of([[loud, loud], *ones])
    alone, after = estimate(cells_of(ones), kind), estimate(both, kind, np.array([0.0, 1.0]))
    assert after.theta == pytest.approx(alone.theta, abs=1e-9)
    assert after.information == pytest.approx(alone.information, abs=1e-9)
    assert after.prior_sd == pytest.approx(alone.prior_sd)


@pytest.mark.parametrize("kind", list(MetricKind))
def test_when_everything_has_faded_nothing_is_known(kind: MetricKind) -> None:
    cells = cells_of([[values_cell([1, 0, 1]), values_cell([0, 0, 1])]])
    found = estimate(cells, kind, np.zeros(1))
    assert found.theta.tolist() == [0, 0]
    assert found.information.tolist() == [[0, 0], [0, 0]]


TURNED = [[binary(4000, 400), binary(4000, 200)], [binary(1000, 50), binary(1000, 100)]]


def test_where_the_best_has_changed_the_proposal_follows_what_is_recent() -> None:
    """Four thousand units of yesterday against one of today; without forgetting, yesterday wins."""
    cells = cells_of(TURNED)
    faded = decide(inputs_of(cells, constraints=FREE, half_life_seconds=DAY, retained={1: .01, 2: 1.0}))
    assert decide(inputs_of(cells, constraints=FREE)).proposal["a"] > .95
    assert faded.proposal["b"] > .95
    assert "10,000 trials amount to 2,080" in faded.basis


def test_a_faded_decision_replays_from_its_json_for_the_heuristic_too() -> None:
    """The information that is stored is the faded one, and so are the sums that strategies see."""
    for strategy in ("thompson", "heuristic"):
        inputs = inputs_of(
            cells_of(TURNED), strategy=strategy, half_life_seconds=DAY, retained={1: .01, 2: 1.0}, constraints=FREE
        )
        assert decide(Inputs.model_validate_json(inputs.model_dump_json())) == decide(inputs)
        assert decide(inputs).proposal["b"] > .6
    assert decide(inputs_of(cells_of(TURNED), strategy="heuristic", constraints=FREE)).proposal["b"] < .5  # teeth


def test_the_least_number_of_trials_is_counted_in_full() -> None:
    """A thousand trials that amount to one are still a thousand."""
    cells = cells_of([[binary(1000, 50), binary(1000, 60)]])
    faded = inputs_of(cells, constraints={"min_trials": 1000}, half_life_seconds=1, retained={1: .001})
    assert HoldCode.MIN_TRIALS not in {reason.code for reason in decide(faded).reasons}
    assert faded.trials == (1000, 1000)
    assert faded.faded_trials == pytest.approx((1, 1))
    assert decide(inputs_of(cells, constraints={"min_trials": 1001})).reasons[0].code is HoldCode.MIN_TRIALS


def test_epochs_are_told_by_their_numbers_not_by_their_places() -> None:
    """An epoch without outcomes leaves no row."""
    cells = Cells.gather("ab", {(7, "a"): (10, 1, 1), (3, "b"): (10, 2, 2)})
    assert cells.epochs == (3, 7)
    assert inputs_of(cells, half_life_seconds=1, retained={3: .5, 5: .1, 7: 1.0}).faded_trials == (10, 5)
