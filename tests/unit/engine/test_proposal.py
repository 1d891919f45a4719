"""The proposal: strategies and objectives, ours and others', over those whose share is not settled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.engine import STRATEGIES, Belief, Engine, Evidence, Observation, decide, estimate, register_strategy
from trimtab.engine import strategies as registry
from trimtab.engine.probability import Floats
from trimtab.engine.proposal import Known, propose
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import HoldCode, Inputs, Outcome
from trimtab.schema.experiment import BUILT_IN_STRATEGIES, Experiment, MetricKind, Objective
from unit.engine.given import Sums, binary, binary_rows, cells_of, even, experiment, inputs_of

THREE = cells_of([[binary(2000, 100), binary(2000, 130), binary(2000, 118)]])
FREE = {"min_trials": 0, "max_step": 1.0, "min_weight": 0.0}
ADAPTIVE = sorted(set(BUILT_IN_STRATEGIES) - {"fixed"})


def known(rows: list[list[Sums]]) -> Known:
    """What evidence there is on a binary metric."""
    cells = cells_of(rows)
    found = estimate(cells, MetricKind.BINARY)
    belief = Belief.of(found.theta, found.information, found.precision, found.prior_sd)
    size = len(cells.variants)
    return Known(np.array(cells.trials, float), np.array(cells.totals), np.full(size, 1 / size), belief.p_best_among)


# ── objectives ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ADAPTIVE)
def test_to_earn_is_what_the_strategy_itself_proposes_and_mixed_is_half_way_to_find_best(strategy: str) -> None:
    earn, best, mixed = (
        np.array(list(decide(inputs_of(THREE, strategy=strategy, objective=objective)).proposal.values()))
        for objective in Objective.__members__.values()
    )
    plain = decide(inputs_of(THREE, strategy=strategy)).proposal
    assert earn.tolist() == list(plain.values())
    assert best.tolist() == list(decide(inputs_of(THREE, strategy="top_two")).proposal.values())
    assert mixed == pytest.approx((earn + best) / 2, abs=2e-9)


def test_to_find_the_best_a_sure_leader_gets_half_and_its_likeliest_rival_most_of_the_rest() -> None:
    cells = cells_of([[binary(9000, 300), binary(9000, 900), binary(9000, 420)]])
    proposal = decide(inputs_of(cells, objective="find-best")).proposal
    assert proposal["b"] == pytest.approx(.5, abs=1e-6)
    assert proposal["c"] > .45


def test_thompson_mixed_is_top_two_sampling_whose_leader_takes_three_quarters() -> None:
    cells = cells_of([[binary(9000, 300), binary(9000, 900), binary(9000, 420)]])
    assert decide(inputs_of(cells, objective="mixed")).proposal["b"] == pytest.approx(.75, abs=1e-6)


@pytest.mark.parametrize("objective", ["find-best", "mixed"])
def test_an_objective_replays_from_the_ledger_and_is_explained(objective: str) -> None:
    inputs = inputs_of(THREE, objective=objective)
    again = Inputs.model_validate_json(inputs.model_dump_json())
    assert decide(again) == decide(inputs)
    assert decide(again).basis.startswith(f"Strategy thompson, objective {objective}: ")
    assert "half" in decide(again).basis


def test_an_objective_that_moves_traffic_does_not_go_with_a_fixed_split() -> None:
    with pytest.raises(ConfigurationError, match="objective find-best moves traffic"):
        experiment(THREE, strategy="fixed", objective="find-best")
    with pytest.raises(InvalidInput, match="Objective mixed moves traffic"):
        Engine("fixed", "mixed")


def test_an_unknown_objective_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(InvalidInput, match="earn, find-best, mixed"):
        Engine("thompson", "learn")


def test_the_library_honours_the_objective_too() -> None:
    seen = {"A": Observation(1000, 50), "B": Observation(1000, 120), "C": Observation(1000, 60)}
    weights = {"A": .3, "B": .4, "C": .3}
    limits = Constraints(min_trials=0)
    shares = {
        objective: Engine("thompson", objective)
        .compute(observations=seen, previous_weights=weights, constraints=limits)
        .explanation.proposed_weights["B"]
        for objective in Objective
    }
    assert shares == pytest.approx({"earn": 1.0, "find-best": .5, "mixed": .75}, abs=1e-3)


# ── those whose share is settled ─────────────────────────────────────────────────────────────────────────────────────


def test_while_a_late_variant_waits_the_others_share_by_evidence_among_themselves() -> None:
    """A leader with P(best) .98 of the two that know something keeps .98 of what the third leaves."""
    rows = [[binary(3000, 150), binary(3000, 190), binary(0, 0)]]
    two = decide(inputs_of(cells_of([row[:2] for row in rows]), constraints=FREE)).proposal
    previous = {"a": 400_000, "b": 400_000, "c": 200_000}
    result = decide(
        inputs_of(
            cells_of(rows), previous=previous, entered_later=("c",), constraints={**FREE, "min_trials": 100}
        )
    )
    assert result.proposal == pytest.approx({"a": .8 * two["a"], "b": .8 * two["b"], "c": .2}, abs=1e-8)
    assert result.parts["b"] == pytest.approx(800_000 * two["b"], abs=2)


def test_spreading_what_the_late_one_wants_evenly_fails_that_test() -> None:
    """Teeth: P(best) of all three, projected with the third pinned, gives the worse variant far more."""
    rows = [[binary(3000, 150), binary(3000, 190), binary(0, 0)]]
    p = known(rows).p_best_among(np.arange(3))
    two = decide(inputs_of(cells_of([rows[0][:2]]), constraints=FREE)).proposal
    assert p[0] + (p[2] - .2) / 2 > .8 * two["a"] + .05


@pytest.mark.parametrize("how", ["halted", "pinned"])
def test_a_halted_or_pinned_variant_leaves_the_others_to_share_among_themselves_too(how: str) -> None:
    rows = [[binary(3000, 150), binary(3000, 190), binary(3000, 180)]]
    changes: dict[str, Any] = {"halted": ("c",)} if how == "halted" else {}
    pins = {} if how == "halted" else {"c": .1}
    share = pins.get("c", 0.0)
    previous = {"a": 450_000, "b": 450_000, "c": 100_000} if pins else {"a": 500_000, "b": 500_000, "c": 0}
    result = decide(inputs_of(cells_of(rows), previous=previous, constraints={**FREE, "pins": pins}, **changes))
    p = known(rows).p_best_among(np.array([0, 1]))
    assert list(result.proposal.values()) == pytest.approx([*((1 - share) * p), share], abs=1e-8)
    assert result.proposal["c"] == share


@settings(max_examples=40)
@given(st.data(), binary_rows(min_variants=2, max_variants=4, max_epochs=2), st.sampled_from(list(Objective)))
def test_a_proposal_adds_up_to_one_whoever_is_settled(
    data: st.DataObject, rows: list[list[Sums]], objective: Objective
) -> None:
    """Shares ≥ 0, Σ = 1; settled ones as they are, as long as they leave something."""
    size = len(rows[0])
    settled = data.draw(st.dictionaries(st.integers(0, size - 1), st.floats(0, .2), max_size=size - 1))
    shares = propose("thompson", objective, known(rows), settled)
    assert shares.sum() == pytest.approx(1, abs=1e-9)
    assert shares.min() >= 0
    assert [shares[k] for k in settled] == pytest.approx(list(settled.values()), abs=1e-9)


def test_settled_shares_that_fill_everything_are_brought_to_one() -> None:
    rows = [[binary(10, 1), binary(10, 2)]]
    assert propose("thompson", Objective.EARN, known(rows), {0: .5, 1: .25}) == pytest.approx([2 / 3, 1 / 3])
    assert propose("thompson", Objective.EARN, known(rows), {0: 0.0, 1: 0.0}).tolist() == [.5, .5]


# ── strategies of others ─────────────────────────────────────────────────────────────────────────────────────────────


def greedy(evidence: Evidence) -> Floats:
    """Everything to the highest rate."""
    rate = evidence.successes / np.maximum(evidence.trials, 1)
    return (rate == rate.max()).astype(float)


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """The registry as it was before."""
    before = dict(STRATEGIES)
    registry._installed.cache_clear()
    yield
    STRATEGIES.clear()
    STRATEGIES.update(before)
    registry._installed.cache_clear()


@pytest.mark.usefixtures("clean_registry")
def test_a_registered_strategy_proposes_in_the_service_and_in_the_library() -> None:
    register_strategy("acme.greedy", greedy)
    result = decide(inputs_of(THREE, strategy="acme.greedy"))
    assert result.proposal == {"a": 0, "b": 1, "c": 0}
    assert "acme.greedy" in result.basis
    assert result.parts["b"] > even("abc")["b"]
    seen = {"A": Observation(10, 1), "B": Observation(10, 5)}
    weights = Engine("acme.greedy").compute(
        observations=seen, previous_weights={"A": .5, "B": .5}, constraints=Constraints(min_trials=0)
    )
    assert weights.explanation.proposed_weights == {"A": 0, "B": 1}


@pytest.mark.usefixtures("clean_registry")
def test_a_strategy_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the module's docstring says: nothing but the package's metadata has to know of it."""
    metadata = tmp_path / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[trimtab.strategies]\nacme.last = acme_bandits:last\n")
    (tmp_path / "acme_bandits.py").write_text("def last(evidence):\n    return evidence.trials > 25\n")
    monkeypatch.syspath_prepend(tmp_path)
    cells = cells_of([[binary(10, 1), binary(20, 2), binary(30, 3)]])
    assert decide(inputs_of(cells, strategy="acme.last")).proposal == {"a": 0, "b": 0, "c": 1}


def test_a_strategy_that_no_worker_knows_holds_the_weights_and_says_so() -> None:
    result = decide(inputs_of(THREE, strategy="acme.unheard"))
    assert result.outcome is Outcome.HOLD
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert "Unknown strategy 'acme.unheard'" in result.sentence


@pytest.mark.usefixtures("clean_registry")
@pytest.mark.parametrize("shares", [[np.nan, 1, 1], [1, 1], [-1, 2, 1], [0, 0, 0], [np.inf, 1, 1]])
def test_what_another_strategy_returns_reaches_no_weight_unless_it_is_shares(shares: list[float]) -> None:
    register_strategy("acme.broken", lambda evidence: np.array(shares, float))
    result = decide(inputs_of(THREE, strategy="acme.broken"))
    assert result.reasons[0].code is HoldCode.INVALID_INPUT
    assert "acme.broken" in result.sentence
    assert result.parts == even("abc")


@pytest.mark.usefixtures("clean_registry")
def test_names_of_other_strategies_have_a_dot_and_are_taken_once() -> None:
    """So that a misspelt name of ours is refused when the experiment is created, not found out when it runs."""
    with pytest.raises(InvalidInput, match="dot"):
        register_strategy("greedy", greedy)
    register_strategy("acme.greedy", greedy)
    register_strategy("acme.greedy", greedy)  # again is no harm
    with pytest.raises(InvalidInput, match="another"):
        register_strategy("acme.greedy", lambda evidence: evidence.p_best)
    definition = {"id": "x", "variants": [{"id": "a"}], "metrics": [{"name": "m", "kind": "binary"}]}
    assert Experiment.parse({**definition, "strategy": "acme.greedy"}).strategy == "acme.greedy"
    with pytest.raises(ConfigurationError, match="unknown strategy 'thomson'"):
        Experiment.parse({**definition, "strategy": "thomson"})
