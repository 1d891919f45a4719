"""The closed loop: reproducible, exact in its counts, and honest about who was served what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import trimtab.simulation
from trimtab.errors import InvalidInput
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import HoldCode, Outcome
from trimtab.simulation import (
    BASELINES,
    WORLDS,
    History,
    Policy,
    PooledThompson,
    Service,
    Summary,
    Uniform,
    make_world,
    simulate,
)

FREE = Constraints(min_weight=.05, max_step=1.0, min_trials=0, cooldown_seconds=0)
SMALL = make_world("drift", [.05, .09, .07], steps=6, batch=400)


def test_public_names_are_sorted_and_exist() -> None:
    names = trimtab.simulation.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(trimtab.simulation, name) for name in names)


@pytest.mark.parametrize("policy", [Service(FREE), *(make(FREE) for make in BASELINES.values())], ids=lambda p: p.name)
def test_a_run_is_the_same_however_many_run_beside_it(policy: Policy) -> None:
    """Law: run r draws from child r of the seed, whatever else happens."""
    three, one = simulate(SMALL, policy, runs=3, seed=0), simulate(SMALL, policy, runs=1, seed=0)
    assert (three.parts[:1] == one.parts).all()
    assert (three.arrived.total[:1] == one.arrived.total).all()
    assert not (three.drawn.n[0] == three.drawn.n[1]).all()


def test_processes_share_runs_without_changing_any() -> None:
    together, apart = (simulate(SMALL, Uniform(), runs=5, seed=3, jobs=jobs, keep_results=True) for jobs in (1, 2))
    assert (together.drawn.total == apart.drawn.total).all()
    assert (together.runs, len(apart.results)) == (5, 6)


@pytest.mark.parametrize("name", WORLDS)
def test_nothing_drawn_is_lost_but_what_is_still_on_its_way(name: str) -> None:
    world = make_world(name, [.05, .06], steps=7, batch=300)
    history = simulate(world, PooledThompson(FREE), runs=2)
    assert (history.drawn.n.sum(axis=2) == 300).all()
    on_its_way = history.drawn.n.sum() - history.arrived.n.sum()
    assert on_its_way > 0 if len(world.arrival) > 1 else on_its_way == 0


def test_late_outcomes_count_in_the_epoch_that_served_them() -> None:
    """All outcomes two steps late: after T steps the epochs of the first T − 2 are complete, the others empty."""
    world = replace(SMALL, arrival=(0.0, 0.0, 1.0))
    history = simulate(world, PooledThompson(FREE), runs=1, seed=5)
    by_epoch = np.zeros((6, 3), int)
    for step, epoch in enumerate(history.epochs[0][:4]):
        by_epoch[epoch] += history.drawn.n[0, step]
    assert (history.arrived.n[0] == by_epoch).all()


def test_weights_that_stay_stay_in_their_epoch() -> None:
    history = simulate(SMALL, Uniform(), runs=2)
    assert (history.epochs == 0).all()
    assert history.cells(1).n.shape == (1, 3)
    assert history.regret.sum(axis=1) == pytest.approx(SMALL.uniform_regret.sum(), rel=1e-5)


def test_a_cooldown_lets_weights_move_every_other_step_at_most() -> None:
    """A step takes an hour, the cooldown two; the first change waits for nothing, and some run would move at once."""
    for policy in (Service, PooledThompson):
        history = simulate(SMALL, policy(FREE.model_copy(update={"cooldown_seconds": 7200})), runs=3)
        assert (history.epochs[:, 1] == 1).all()
        assert (history.epochs[:, 2:] - history.epochs[:, :-2] <= 1).all()
        eager = simulate(SMALL, policy(FREE), runs=3)
        assert (eager.epochs[:, 2:] - eager.epochs[:, :-2] == 2).any()


def test_nothing_moves_before_the_least_evidence() -> None:
    for policy in (Service, PooledThompson):
        history = simulate(SMALL, policy(FREE.model_copy(update={"min_trials": 10_000})), runs=2)
        assert (history.parts_after == history.parts[:, 0]).all()


def test_a_late_variant_waits_at_its_floor_until_it_has_its_evidence() -> None:
    limits = Constraints(min_weight=.05, max_step=.5, min_trials=100, cooldown_seconds=0)
    world = make_world("late", [.05, .05, .5], steps=12, batch=1000, at=4, to=1)
    for policy in (Service(limits), PooledThompson(limits)):
        shares = simulate(world, policy, runs=2, seed=1).weights[:, :, 2]
        assert (shares[:, :4] == 0).all()
        assert shares[:, 4:6] == pytest.approx(.05)
        assert (shares[:, -1] > .5).all()


def test_results_explain_every_decision_when_they_are_kept() -> None:
    history = simulate(SMALL, Service(Constraints(min_trials=300, cooldown_seconds=0)), runs=2, keep_results=True)
    assert [len(step) for step in history.results] == [2] * 6
    first, last = history.results[0][0], history.results[-1][0]
    assert (first.outcome, first.reasons[0].code) == (Outcome.HOLD, HoldCode.MIN_TRIALS)
    assert sum(last.parts.values()) == PARTS
    assert [last.parts[v] for v in "abc"] == history.parts_after[0].tolist()


def test_a_summary_counts_what_it_says() -> None:
    """Two runs made by hand: the best, b, has the majority from step 1 in one run and never in the other."""
    world = make_world("stationary", [.1, .2], steps=3, batch=10)
    blank = simulate(world, Uniform(), runs=2)
    path = np.array([[[500_000] * 2, [400_000, 600_000], [100_000, 900_000]], [[500_000] * 2] * 3])
    history = History(
        world, "made", path, np.array([[100_000, 900_000], [500_000] * 2]), blank.epochs, blank.drawn, blank.arrived
    )
    found = Summary.of(history)
    assert found.regret == pytest.approx(10 * .1 * (.5 + .4 + .1 + 1.5) / 2)
    assert found.share_of_uniform == pytest.approx(found.regret / 1.5)
    assert (found.best, found.on_top) == ("b", 1.0)
    assert found.final_weight == pytest.approx(.7)
    assert (found.majority, found.units_to_majority) == (.5, None)
    assert replace(found, policy="x").to_dict()["policy"] == "x"
    one = Summary.of(replace(history, parts=path[:1], parts_after=history.parts_after[:1]))
    assert (one.majority, one.units_to_majority, one.regret_error) == (1.0, 10, 0.0)


def test_where_equal_shares_lose_nothing_there_is_no_share_of_it() -> None:
    assert Summary.of(simulate(make_world("stationary", [.1, .1], steps=2), Uniform())).share_of_uniform is None


@pytest.mark.parametrize(("wrong", "words"), [({"runs": 0}, "runs is 0"), ({"seed": -1}, "seed is -1")])
def test_no_runs_and_no_seed_are_refused(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        simulate(SMALL, Uniform(), **wrong)  # type: ignore[arg-type]
