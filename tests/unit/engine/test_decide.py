"""`decide`: pure, replayable, never off its limits, and every hold says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.engine import Cells, decide, parts_after_halt
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import HoldCode, Inputs, Outcome, Reason, VerdictCode
from unit.engine.given import IDS, NOW, Sums, binary, binary_rows, cells_of, even, inputs_of, limits_of

FIRST = cells_of([[binary(1000, 50), binary(1000, 80)]])


@settings(max_examples=40)
@given(st.data(), binary_rows(max_variants=4, max_epochs=2))
def test_a_decision_replayed_from_its_json_gives_the_same_parts(data: st.DataObject, rows: list[list[Sums]]) -> None:
    """The ledger's `Inputs` are sufficient: same parts, same words; and parts add up to a million."""
    cells = cells_of(rows)
    limits = data.draw(limits_of(cells.variants))
    inputs = inputs_of(cells, constraints=limits.model_dump())
    result = decide(inputs)
    assert decide(Inputs.model_validate_json(inputs.model_dump_json())) == result
    assert sum(result.parts.values()) == PARTS


@settings(max_examples=40)
@given(st.permutations(range(4)), binary_rows(min_variants=4, max_variants=4, max_epochs=2))
def test_the_order_of_variants_does_not_matter(order: list[int], rows: list[list[Sums]]) -> None:
    """Ids kept, order of everything changed: exactly the same parts."""
    inputs = inputs_of(cells_of(rows))
    moved = {
        name: tuple(getattr(inputs, name)[k] for k in order)
        for name in ("variants", "theta", "precision", "trials", "successes")
    }
    information = tuple(tuple(inputs.information[j][k] for k in order) for j in order)
    assert decide(inputs.model_copy(update={**moved, "information": information})).parts == decide(inputs).parts


def test_renaming_variants_permutes_weights_to_a_part_per_million() -> None:
    """Another order of ids is another order of rounding, and of nothing else, in one epoch."""
    row = [binary(2000, 90), binary(1500, 75), binary(1800, 100), binary(900, 40)]
    wide = {"max_step": 1.0}
    parts = list(decide(inputs_of(cells_of([row]), constraints=wide)).parts.values())
    turned = list(decide(inputs_of(cells_of([row[::-1]]), constraints=wide)).parts.values())
    assert all(abs(a - b) <= 1 for a, b in zip(parts, turned[::-1], strict=True))


def test_the_sentence_says_what_moves_what_it_wants_and_what_bound_it() -> None:
    result = decide(inputs_of(FIRST))
    assert result.outcome is Outcome.MOVE
    assert result.parts == {"a": 400_000, "b": 600_000}
    assert result.sentence == (
        "b's share rises from 50.0 % to 60.0 %: it wants 99.6 %, "
        "and one move may change a share by at most 10.0 points."
    )
    assert result.would_move == "b still wants 99.6 %: the next move may go on, 30 minutes after this one."
    assert [(verdict.variant, verdict.code) for verdict in result.verdicts] == [
        ("a", VerdictCode.MAX_STEP),
        ("b", VerdictCode.MAX_STEP),
    ]


def test_lower_is_better_sends_traffic_the_other_way() -> None:
    """`decrease` swaps the two: P(lowest) in place of P(highest)."""
    up, down = (decide(inputs_of(FIRST, direction=way)) for way in ("increase", "decrease"))
    assert down.parts == {"a": 600_000, "b": 400_000}
    assert down.posterior["a"].p_best == pytest.approx(up.posterior["b"].p_best, abs=1e-9)


@pytest.mark.parametrize(("trials", "outcome"), [(999, Outcome.HOLD), (1000, Outcome.MOVE)])
def test_exactly_the_least_number_of_trials_moves(trials: int, outcome: Outcome) -> None:
    cells = cells_of([[binary(5000, 250), binary(trials, 100)]])
    assert decide(inputs_of(cells, constraints={"min_trials": 1000})).outcome is outcome


def test_a_hold_keeps_the_previous_parts_verbatim() -> None:
    """Even parts that break a floor: a hold is no occasion to repair."""
    previous = {"b": 999_999, "a": 1}
    result = decide(inputs_of(FIRST, previous=previous, constraints={"min_trials": 5000, "min_weight": .1}))
    assert list(result.parts.items()) == list(previous.items())
    assert result.reasons[0].code is HoldCode.MIN_TRIALS
    assert result.reasons[0].numbers == {"min_trials": 5000, "trials.a": 1000, "trials.b": 1000}
    assert "4,000 more trials" in result.would_move


@pytest.mark.parametrize(
    ("changed_at", "outcome"),
    [(None, Outcome.MOVE), (NOW - 1_799_999, Outcome.HOLD), (NOW - 1_800_000, Outcome.MOVE), (NOW + 5, Outcome.HOLD)],
)
def test_the_cooldown_counts_from_the_last_change_and_the_first_has_none(
    changed_at: int | None, outcome: Outcome
) -> None:
    assert decide(inputs_of(FIRST, changed_at=changed_at)).outcome is outcome


def test_holds_come_in_the_order_of_the_rules() -> None:
    """Facts from outside and what the engine finds, merged; the first one speaks."""
    facts = (
        Reason(code=HoldCode.DEAD_LETTERS, sentence="Too many dead letters."),
        Reason(code=HoldCode.PAUSED, sentence="A person paused it."),
    )
    result = decide(inputs_of(FIRST, facts=facts, changed_at=NOW - 1000, constraints={"min_trials": 2000}))
    assert [reason.code for reason in result.reasons] == [
        HoldCode.PAUSED,
        HoldCode.DEAD_LETTERS,
        HoldCode.COOLDOWN,
        HoldCode.MIN_TRIALS,
    ]
    assert result.sentence == "A person paused it."
    assert result.parts == even("ab")


@pytest.mark.parametrize(
    "changes",
    [
        {"theta": (float("nan"), 0.0)},
        {"theta": (0.0,)},
        {"information": ((1.0, float("inf")), (0.0, 1.0))},
        {"trials": (-1, 5)},
        {"prior_sd": float("nan")},
        {"previous": {"a": 400_000, "b": 500_000}},
        {"previous": {"a": 400_000, "z": 600_000}},
    ],
)
def test_what_no_decision_can_be_made_from_is_a_hold(changes: dict[str, Any]) -> None:
    """NaN or infinity never reaches a weight, and never raises in a worker either."""
    inputs = inputs_of(FIRST).model_copy(update=changes)
    result = decide(inputs)
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert result.parts == inputs.previous


def test_impossible_sums_become_a_hold_with_the_variants_name() -> None:
    cells = Cells.gather("ab", {(1, "a"): (10, 5, 5), (1, "b"): (10, 20, 40)})
    result = decide(inputs_of(cells))
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert "'b'" in result.sentence


def test_the_heuristic_on_a_continuous_metric_holds_and_names_the_way_out() -> None:
    cells = cells_of([[(10, -50, 400), (10, 30, 400)]])
    result = decide(inputs_of(cells, "continuous", strategy="heuristic"))
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert "choose strategy thompson" in result.sentence


def test_a_variant_added_later_waits_at_its_entry_weight_while_the_others_move() -> None:
    """It neither holds the others up nor moves itself, until it has the least number of trials."""
    rows = [[binary(3000, 150), binary(3000, 240), binary(0, 0)], [binary(100, 5), binary(100, 8), binary(99, 9)]]
    previous = {"a": 450_000, "b": 450_000, "c": 100_000}
    waiting: dict[str, Any] = {"previous": previous, "entered_later": ("c",), "constraints": {"min_trials": 100}}
    result = decide(inputs_of(cells_of(rows), **waiting))
    assert result.parts == {"a": 350_000, "b": 550_000, "c": 100_000}
    assert VerdictCode.AWAITING_EVIDENCE in {verdict.code for verdict in result.verdicts}
    rows[1][2] = binary(100, 9)
    assert decide(inputs_of(cells_of(rows), **waiting)).parts["c"] == 200_000


def test_a_variant_added_without_a_share_enters_at_its_floor() -> None:
    """Waiting at 0 would be waiting for ever."""
    rows = [[binary(3000, 150), binary(3000, 240), binary(0, 0)]]
    previous = {"a": 500_000, "b": 500_000, "c": 0}
    result = decide(
        inputs_of(cells_of(rows), previous=previous, entered_later=("c",), constraints={"min_weight": .05})
    )
    assert result.parts["c"] == 50_000


@given(st.sets(st.sampled_from("abc")), st.lists(st.integers(0, 1500), min_size=4, max_size=4))
def test_a_wait_for_trials_ends_where_traffic_follows_the_weights(unseen: set[str], trials: list[int]) -> None:
    """Whoever is served to nobody, halted too early and resumed or begun at 0, gets a share before it is waited for."""
    limits = {"min_trials": 1000, "min_weight": 0.0}
    parts = dict.fromkeys("abcd", 0) | even([v for v in "abcd" if v not in unseen])
    for _ in range(8):
        trials = [n + parts[v] * 20_000 // PARTS for v, n in zip("abcd", trials, strict=True)]
        cells = cells_of([[binary(n, n // 10) for n in trials]])
        result = decide(inputs_of(cells, previous=parts, constraints=limits))
        parts = result.parts
    assert HoldCode.MIN_TRIALS not in {reason.code for reason in result.reasons}
    assert min(trials) >= 1000


def test_harm_goes_to_zero_at_once_whatever_else_would_hold() -> None:
    """A halt is not a step, and knows no cooldown; the others share what it had."""
    cells = cells_of([[binary(1000, 50), binary(1000, 80), binary(1000, 70)]])
    inputs = inputs_of(cells, halted=("b",), changed_at=NOW)
    result = decide(inputs)
    assert result.outcome is Outcome.HALT
    assert result.parts == {"a": 500_001, "b": 0, "c": 499_999} == parts_after_halt(inputs)
    after = decide(inputs_of(cells, halted=("b",), previous=result.parts))
    assert after.parts["b"] == 0


def test_with_everybody_halted_control_serves_everybody() -> None:
    assert parts_after_halt(inputs_of(FIRST, halted=("a", "b"))) == {"a": PARTS, "b": 0}


def test_weights_that_already_are_what_is_asked_hold_as_unchanged() -> None:
    """A fixed split, or a proposal the limits allow no step towards."""
    result = decide(inputs_of(FIRST, strategy="fixed"))
    assert result.outcome is Outcome.HOLD
    assert [reason.code for reason in result.reasons] == [HoldCode.UNCHANGED]


def test_one_variant_has_everything() -> None:
    result = decide(inputs_of(cells_of([[binary(10, 5)]])))
    assert result.parts == {"a": PARTS}


def test_nothing_of_twenty_thousand_does_not_get_half_the_traffic() -> None:
    """0/1000 against 20/1000 has P(best) ≤ .001; the best open peer gave such a variant half."""
    result = decide(inputs_of(cells_of([[binary(1000, 0), binary(1000, 20)]])))
    assert result.posterior["a"].p_best <= .001


def test_equal_and_empty_data_is_uniform() -> None:
    for cell in (binary(0, 0), binary(1000, 0), binary(1000, 1000), binary(1, 1)):
        result = decide(inputs_of(cells_of([[cell] * 4])))
        assert result.parts == even(IDS[:4])


def test_all_constraints_hold_in_a_long_run_of_decisions() -> None:
    """Ten moves towards a clear winner: no step beyond the limit, no share under the floor, and it arrives."""
    cells = cells_of([[binary(9000, 300), binary(9000, 900), binary(9000, 300), binary(9000, 310)]])
    limits = Constraints(min_weight=.03, max_step=.07, min_trials=0)
    parts = even("abcd")
    for _ in range(12):
        after = decide(inputs_of(cells, previous=parts, constraints=limits.model_dump())).parts
        assert all(abs(after[v] - parts[v]) <= 70_000 for v in parts)
        assert min(after.values()) >= 30_000
        parts = after
    assert parts["b"] == 910_000
