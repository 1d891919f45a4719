"""The laws that close the page of methods, as properties: names, duplicates, merging, and the order of holds.

Replays are in `test_decide` and `test_proposal`, what the projection violates (nothing) in `test_projection` and
`test_guardrails`.
"""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trimtab.engine import (
    Cells,
    decide,
    probability_best_beta,
    probability_best_mvn,
    probability_best_normal,
)
from trimtab.engine.probability import Floats
from trimtab.fold import Cell
from trimtab.schema.decision import HoldCode, Inputs, Reason
from trimtab.schema.experiment import Objective
from unit.engine.given import IDS, NOW, Sums, binary, binary_rows, cells_of, inputs_of

FREE = {"min_trials": 0, "max_step": 1.0, "min_weight": 0.0}
STRATEGIES = st.sampled_from(["thompson", "top_two", "heuristic"])
OBJECTIVES = st.sampled_from(list(Objective))
POSITIVE = st.floats(.01, 100)
MAGNITUDE = st.floats(-3, 6)  # log₁₀


def wanted(rows: list[list[Sums]], strategy: str = "thompson", objective: str = "earn") -> Floats:
    """What is proposed, before any guardrail."""
    inputs = inputs_of(cells_of(rows), strategy=strategy, objective=objective, constraints=FREE)
    return np.array(list(decide(inputs).proposal.values()))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(st.permutations(range(4)), binary_rows(min_variants=4, max_variants=4), STRATEGIES, OBJECTIVES)
def test_renaming_variants_permutes_what_is_proposed_and_the_parts_to_one_per_million(
    order: list[int], rows: list[list[Sums]], strategy: str, objective: str
) -> None:
    """Over any number of epochs. (Variants with the same data are told apart by their names alone: next law.)"""
    columns = list(zip(*rows, strict=True))
    assume(len(set(columns)) == len(columns))
    turned = [[row[k] for k in order] for row in rows]
    before, after = wanted(rows, strategy, objective), wanted(turned, strategy, objective)
    assert np.abs(before[order] - after).max() <= 1e-6
    parts, moved = (list(decide(inputs_of(cells_of(each), constraints=FREE)).parts.values()) for each in (rows, turned))
    assert all(abs(parts[k] - part) <= 2 for k, part in zip(order, moved, strict=True))


# ── duplicates ───────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(binary_rows(min_variants=2, max_variants=3), STRATEGIES, OBJECTIVES)
def test_a_duplicate_of_a_variant_is_proposed_its_originals_share(
    rows: list[list[Sums]], strategy: str, objective: str
) -> None:
    """Exactly, where quadrature is exact, which is in one epoch; else within its error."""
    shares = wanted([[*row, row[0]] for row in rows], strategy, objective)
    assert abs(shares[0] - shares[-1]) <= (2e-9 if len(rows) == 1 else 3e-4)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(.01, 5)), min_size=2, max_size=5))
def test_beside_a_duplicate_nobody_elses_chance_rises_normal(variants: list[tuple[float, float]]) -> None:
    """Either figure is good to 1e-6."""
    mean, sd = np.array([*variants, variants[0]]).T
    alone, beside = probability_best_normal(mean[:-1], sd[:-1]), probability_best_normal(mean, sd)
    assert (beside[1:-1] <= alone[1:] + 2e-6).all()
    assert beside[0] == beside[-1]


@given(st.lists(st.tuples(MAGNITUDE, MAGNITUDE), min_size=2, max_size=5))
def test_beside_a_duplicate_nobody_elses_chance_rises_beta(variants: list[tuple[float, float]]) -> None:
    """Of any magnitudes: rates so near to 1 that a float cannot tell them from it still have their order."""
    alpha, beta = 10 ** np.array([*variants, variants[0]]).T
    alone, beside = probability_best_beta(alpha[:-1], beta[:-1]), probability_best_beta(alpha, beta)
    assert (beside[1:-1] <= alone[1:] + 2e-6).all()
    assert beside[0] == beside[-1]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(-1, 1), st.floats(.5, 4), st.floats(-.5, .5), st.floats(-.5, .5)), min_size=3, max_size=5
    )
)
def test_beside_a_duplicate_nobody_elses_chance_rises_correlated(
    variants: list[tuple[float, float, float, float]],
) -> None:
    """Within the error of either figure, 1e-4."""
    mean, precision, *loads = np.array([*variants, variants[0]]).T
    common = np.array(loads).T
    cov = np.diag(1 / precision) + common @ common.T
    alone = probability_best_mvn(mean[:-1], cov[:-1, :-1], precision[:-1])
    beside = probability_best_mvn(mean, cov, precision)
    assert (beside[1:-1] <= alone[1:] + 2e-4).all()
    assert abs(beside[0] - beside[-1]) <= 2e-4


# ── merging ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Outcome = tuple[int, str, int]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc"), st.integers(-(10**15), 10**15)), min_size=1),
    st.randoms(),
    st.integers(1, 5),
)
def test_statistics_merge_in_any_order(outcomes: list[Outcome], random: Random, batches: int) -> None:
    """Any batching, any order of batches, any order of keys: the same cells, bit for bit, and the same inputs."""

    def total(of: list[Outcome]) -> dict[tuple[int, str], Cell]:
        sums: dict[tuple[int, str], Cell] = {}
        for epoch, variant, value in of:
            sums[epoch, variant] = sums.get((epoch, variant), Cell()) + Cell(1, value, value * value)
        return sums

    shuffled = random.sample(outcomes, len(outcomes))
    merged: dict[tuple[int, str], Cell] = {}
    for batch in range(batches):
        for key, cell in total(shuffled[batch::batches]).items():
            merged[key] = cell + merged.get(key, Cell())
    one, other = (Cells.gather("abc", sums) for sums in (total(outcomes), merged))
    assert inputs_of(one, "continuous") == inputs_of(other, "continuous")


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_holds_are_asked_in_the_order_of_the_methods() -> None:
    """Not running, paused, stale, log gap, invalid input, split or leak, dead letters, cooldown, minimum evidence."""
    order = ["not_running", "paused", "stale", "log_gap", "invalid_input"]
    order += ["sample_ratio", "leak", "dead_letters", "cooldown", "min_trials"]
    assert [code.value for code in HoldCode if code.value in order] == order
    assert {code.value for code in HoldCode} - set(order) == {"restored", "unchanged"}


@given(st.permutations([code for code in HoldCode if code not in ("cooldown", "min_trials", "unchanged")]))
def test_whatever_order_holds_are_found_in_they_are_given_in_that_of_the_rules(found: list[HoldCode]) -> None:
    """Each with its code, its sentence and what would end it; the first one speaks, and the weights are verbatim."""
    facts = tuple(Reason(code=code, sentence=f"Because of {code}.") for code in found)
    previous = {"b": 700_000, "a": 300_000}
    cells = cells_of([[binary(10, 1), binary(10, 2)]])
    inputs = inputs_of(cells, previous=previous, facts=facts, changed_at=NOW - 1, constraints={"min_trials": 11})
    result = decide(inputs)
    assert [reason.code for reason in result.reasons] == [code for code in HoldCode if code is not HoldCode.UNCHANGED]
    assert result.sentence == result.reasons[0].sentence
    assert all(reason.sentence.endswith(".") for reason in result.reasons)
    assert list(result.parts.items()) == list(previous.items())
    assert result.would_move.startswith("Weights move again once the experiment runs, and a person resumes it, and ")
    assert result.would_move.endswith("30 minutes more have passed, and b has 1 more trial and the others theirs.")
    assert {reason.code for reason in result.reasons if reason.numbers} == {HoldCode.COOLDOWN, HoldCode.MIN_TRIALS}
    assert decide(Inputs.model_validate_json(inputs.model_dump_json())) == result


def test_every_limit_that_bound_a_variant_is_named_and_what_would_have_to_change() -> None:
    """Floor, ceiling, step, pin, halt and wait, each in a verdict of its own."""
    rows = [[binary(5000, n) for n in (100, 900, 905, 300, 200, 250)] + [binary(10, 1)]]
    limits = {"min_weight": .02, "max_step": .1, "min_trials": 100, "ceilings": {"b": .3}, "pins": {"d": .1}}
    previous = dict(zip(IDS, (40_000, 280_000, 300_000, 100_000, 230_000, 0, 50_000), strict=False))
    result = decide(
        inputs_of(cells_of(rows), previous=previous, halted=("f",), entered_later=("g",), constraints=limits)
    )
    codes = {verdict.variant: verdict.code.value for verdict in result.verdicts}
    assert codes == {
        "a": "floor",
        "b": "ceiling",
        "c": "max_step",
        "d": "pin",
        "e": "max_step",
        "f": "halted",
        "g": "awaiting_evidence",
    }
    numbers = [verdict.numbers for verdict in result.verdicts]
    assert all(each["low"] <= each["weight"] <= each["high"] for each in numbers)
    assert "g moves too once it has 90 more trials." in result.would_move
    assert "f waits for a person to resume." in result.would_move
    assert "d stays while pinned." in result.would_move
