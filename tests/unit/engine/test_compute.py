"""`Engine.compute`: what users of the seed know, with every argument honoured."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.reporting import Check
from logs import definition
from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.client.control import Control
from trimtab.engine import STRATEGIES, Engine, Observation, decide
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.constraints import Constraints
from unit.engine.given import binary, cells_of, inputs_of, shares_of

QUICK_START = {"A": Observation(1000, 50), "B": Observation(1000, 120), "C": Observation(1000, 60)}
WEIGHTS = {"A": .33, "B": .33, "C": .34}
LIMITS = Constraints(min_trials=500, max_step=.1, min_weight=.05)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_quick_start_moves_nobody_by_more_than_the_step(strategy: str) -> None:
    """The seed's own quick start broke its max_step of .10 by moving .136."""
    result = Engine(strategy=strategy).compute(
        observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS, seed=42
    )
    assert abs(sum(result.weights.values()) - 1) <= 1e-9
    assert max(abs(result.weights[v] - WEIGHTS[v]) for v in WEIGHTS) <= .1 + 1e-12
    assert min(result.weights.values()) >= .05


def test_the_explanation_has_the_fields_users_know() -> None:
    result = Engine("thompson").compute(
        observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS, seed=0
    )
    document = json.loads(json.dumps(result.explanation.to_dict()))
    assert document["strategy"]["name"] == "thompson"
    assert document["strategy"]["details"]["seed"] == 0
    assert document["observations"] == {"num_variants": 3, "total_trials": 3000, "total_successes": 230}
    assert document["final_weights"] == result.weights
    assert document["guardrails"]["changed"] is True
    assert document["guardrails"]["hold_reason"] is None
    assert document["guardrails"]["guardrails_applied"] == ["max_step_clamp", "normalize"]
    assert document["guardrails"]["max_step_clamps"]["B"] == pytest.approx(
        {"raw": 1, "clamped": .43, "lo": .23, "hi": .43}, abs=1e-5
    )


def test_only_guardrails_that_fired_are_named() -> None:
    """The seed named all three, always."""
    result = Engine("fixed").compute(observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS)
    assert result.explanation.guardrails.guardrails_applied == ()
    assert result.explanation.guardrails.changed is False


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_neither_the_seed_nor_the_order_of_mappings_matters(strategy: str) -> None:
    """P(best) is integrated, not drawn, and ties are broken by id."""
    turned = dict(reversed(QUICK_START.items())), dict(reversed(WEIGHTS.items()))
    first = Engine(strategy).compute(observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS, seed=1)
    second = Engine(strategy).compute(observations=turned[0], previous_weights=turned[1], constraints=LIMITS, seed=2)
    assert first.weights == second.weights


@settings(max_examples=60)
@given(st.data(), st.integers(1, 6), st.sampled_from(["heuristic", "thompson"]))
def test_every_limit_holds_on_any_input(data: st.DataObject, size: int, strategy: str) -> None:
    """Sum, floor and step together; a step is exceeded only where it had to be widened, and that is said."""
    names = [f"variant {k}" for k in range(size)]
    counts = st.integers(0, 10_000).flatmap(lambda n: st.integers(0, n).map(lambda s: Observation(n, s)))
    previous = dict(zip(names, data.draw(shares_of(size)), strict=True))
    limits = Constraints(
        min_weight=data.draw(st.floats(0, 1 / size)), max_step=data.draw(st.floats(.01, 1)), min_trials=0
    )
    result = Engine(strategy).compute(
        observations={name: data.draw(counts) for name in names}, previous_weights=previous, constraints=limits
    )
    assert abs(math.fsum(result.weights.values()) - 1) <= 1e-9
    assert min(result.weights.values()) >= limits.min_weight - 1e-11
    if "step_widened" not in result.explanation.guardrails.guardrails_applied:
        assert max(abs(result.weights[v] - previous[v]) for v in names) <= limits.max_step + 1e-11


def test_too_few_trials_return_the_previous_weights_as_given() -> None:
    """Verbatim, not normalised, in the caller's order; `trials == min_trials` moves."""
    weights = {"B": .3333333, "A": .6666666}
    seen = {"A": Observation(999, 5), "B": Observation(1000, 5)}
    held = Engine().compute(observations=seen, previous_weights=weights)
    assert list(held.weights.items()) == list(weights.items())
    assert held.explanation.guardrails.hold_reason == "min_trials_not_met"
    assert held.explanation.guardrails.guardrails_applied == ("min_trials_hold",)
    assert held.explanation.guardrails.variants_below_min_trials == {"A": 999}
    moved = Engine().compute(observations={**seen, "A": Observation(1000, 5)}, previous_weights=weights)
    assert moved.explanation.guardrails.hold_reason is None


@pytest.mark.parametrize(("now", "hold"), [(1799.9, "cooldown"), (1800, None)])
def test_the_cooldown_is_honoured(now: float, hold: str | None) -> None:
    """The seed took these arguments and ignored them."""
    result = Engine().compute(
        observations=QUICK_START, previous_weights=WEIGHTS, last_updated_at_epoch_s=0, now_epoch_s=now
    )
    assert result.explanation.guardrails.hold_reason == hold


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"observations": {}}, "observations"),
        ({"observations": {" ": Observation(1, 1)}}, "non-blank"),
        ({"observations": {**QUICK_START, "A": Observation(-1, 0)}}, "trials of variant 'A' is -1"),
        ({"observations": {**QUICK_START, "A": Observation(5, 6)}}, "successes of variant 'A'"),
        ({"observations": {**QUICK_START, "A": Observation(float("nan"), 0)}}, "trials of variant 'A' is nan"),  # type: ignore[arg-type]
        ({"observations": {**QUICK_START, "A": Observation(float("inf"), 0)}}, "trials of variant 'A' is inf"),  # type: ignore[arg-type]
        ({"previous_weights": {}}, "previous_weights"),
        ({"previous_weights": {"A": .5, "Z": .3, "Y": .2}}, r"missing \['B', 'C'\], extra \['Y', 'Z'\]"),
        ({"previous_weights": {**WEIGHTS, "A": float("nan")}}, "'A' is nan"),
        ({"previous_weights": {**WEIGHTS, "A": -.1}}, "'A' is -0.1"),
        ({"previous_weights": {**WEIGHTS, "A": .34}}, "add up to"),
        ({"last_updated_at_epoch_s": 5.0}, "now_epoch_s"),
        ({"last_updated_at_epoch_s": float("nan"), "now_epoch_s": 1.0}, "last_updated_at_epoch_s"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    """Variant, field and value, in one sentence, as a ValueError."""
    arguments: dict[str, Any] = {"observations": QUICK_START, "previous_weights": WEIGHTS, **changes}
    with pytest.raises(InvalidInput, match=named) as caught:
        Engine().compute(**arguments)
    assert isinstance(caught.value, ValueError)


def test_floors_that_do_not_fit_raise_even_without_data() -> None:
    """Before the hold test: no amount of waiting makes three floors of .4 fit."""
    seen = {variant: Observation(0, 0) for variant in WEIGHTS}
    with pytest.raises(ConfigurationError, match=r"add up to 1\.2"):
        Engine().compute(observations=seen, previous_weights=WEIGHTS, constraints=Constraints(min_weight=.4))


def test_a_thousand_floors_of_a_hundredth_are_refused_with_the_largest_that_fits(check: Check) -> None:
    """DP-08: by the library and where an experiment is defined; what the sentence advises is then taken."""
    seen = {f"v{number}": Observation(0, 0) for number in range(1000)}
    weights = dict.fromkeys(seen, 1 / 1000)
    control = Control.over(MemoryPublications(), lambda _: MemoryPartition(), by="tester")

    def compute(floor: float) -> None:
        Engine().compute(observations=seen, previous_weights=weights, constraints=Constraints(min_weight=floor))

    def create(floor: float) -> None:
        variants = [{"id": name} for name in seen]
        control.create(definition(variants=variants, constraints={"min_weight": floor}))

    for attempt in (compute, create):
        with pytest.raises(ConfigurationError, match="min_weight") as refused:
            attempt(0.01)
        named = re.search(r"highest is (0[\d.]+).* min_weight that fits all alike is (0[\d.]+)\.$", str(refused.value))
        assert named, refused.value
        attempt(float(named[2]))
        check("DP-08", f"{attempt.__name__}: floor 0.01, largest 0.001",
              f"{attempt.__name__}: floor {named[1]}, largest {named[2]}")  # fmt: skip


def test_an_unknown_strategy_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(ValueError, match="fixed, heuristic, thompson, top_two"):
        Engine(strategy="greedy")


def test_the_heuristic_is_the_smoothed_rate() -> None:
    """(s + 1)/(n + 2), normalised."""
    result = Engine().compute(observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS)
    assert result.explanation.proposed_weights == pytest.approx(
        {"A": 51 / 233, "B": 121 / 233, "C": 61 / 233}, abs=1e-12
    )


def test_it_agrees_with_the_service_once_every_variant_has_thirty_successes() -> None:
    """Exact Beta against the additive model on one epoch: within .02."""
    rng = np.random.default_rng(11)
    limits = Constraints(min_trials=0, max_step=1.0, min_weight=0.0)
    for _ in range(40):
        size = int(rng.integers(2, 6))
        n = rng.integers(600, 20_000, size)
        y = np.maximum(rng.binomial(n, rng.uniform(.05, .08, size)), 30)
        cells = cells_of([[binary(int(a), int(b)) for a, b in zip(n, y, strict=True)]])
        service = decide(inputs_of(cells, constraints=limits.model_dump())).proposal
        seen = {v: Observation(int(a), int(b)) for v, a, b in zip(cells.variants, n, y, strict=True)}
        weights = dict.fromkeys(seen, 1 / size)
        direct = Engine("thompson").compute(observations=seen, previous_weights=weights, constraints=limits)
        assert max(abs(direct.explanation.proposed_weights[v] - service[v]) for v in service) < .02


def test_the_top_two_share_the_traffic() -> None:
    """A sure winner gets half; its best challenger most of the other half."""
    result = Engine("top_two").compute(observations=QUICK_START, previous_weights=WEIGHTS, constraints=LIMITS)
    proposed = result.explanation.proposed_weights
    assert proposed["B"] == pytest.approx(.5, abs=1e-3)
    assert proposed["C"] > proposed["A"]
