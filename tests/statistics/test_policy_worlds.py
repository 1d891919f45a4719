"""The service in every world of the catalogue: it learns where there is something to learn, inside its limits.

World: K = 3, rates .05/.08/.06, 24 batches of 1,000, floor .05, steps of .2, 300 trials first; 4 runs each. Equal
shares are the measure: a policy that learned nothing loses 1.
"""

from __future__ import annotations

import numpy as np
import pytest
from worlds import JOBS, allowance, show, size

from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.simulation import WORLDS, History, PooledThompson, Service, Summary, World, make_world, simulate

LIMITS = Constraints(min_weight=.05, max_step=.2, min_trials=300, cooldown_seconds=0)
RATES = (.05, .08, .06)
RUNS = size(4, 200)
BARS = {"delayed": .6, "drift": .5, "late": .6, "revenue": .8, "seasonal": .5, "stationary": .5}
"""Most of equal shares' loss: twice what was measured or so, for four runs spread by a quarter of their mean."""


def test_every_world_of_the_catalogue_has_a_bar_or_a_test_of_its_own() -> None:
    assert set(WORLDS) == {*BARS, "novelty"}


@pytest.mark.parametrize("name", BARS)
def test_the_service_loses_much_less_than_equal_shares(name: str) -> None:
    history = _play(make_world(name, RATES, steps=24))
    share = Summary.of(history).share_of_uniform
    assert share is not None
    show(f"{name}: regret, share of uniform's", share, f"≤ {BARS[name]}")
    assert share <= BARS[name]
    _keeps_its_limits(history)


def test_an_effect_that_wears_off_leaves_a_policy_that_still_keeps_its_limits() -> None:
    """Half of it every 3 batches: at the end a unit loses next to nothing whatever it meets."""
    history = _play(make_world("novelty", RATES, steps=24, half_life=3))
    _keeps_its_limits(history)
    assert history.world.gaps[-1].max() < .0002


def test_late_outcomes_of_a_drifting_world_are_counted_in_the_epoch_that_served_them() -> None:
    """A/A, K = 2, base 2.5 → 12.5 % in 30 batches of 1,000, outcomes up to 5 batches late, spread evenly.

    Between equals, under weights that never move, P(best) is uniform, and the larger of p and 1 − p has mean .75 and
    spread .14. Weights that follow the data lean a little more: .79 where nothing drifts and nothing is late (800
    runs), .78 here, so neither costs anything. Pooled counts run to one side as far as the floor lets them: .95.
    """
    limits = Constraints(min_weight=.05, max_step=1.0, min_trials=0, cooldown_seconds=0)
    world = make_world("delayed", (.025, .025), steps=30, lag=5, to=5)
    runs = size(20, 200)
    service, pooled = (
        float(simulate(world, policy, runs=runs, seed=20275, jobs=JOBS).weights_after.max(axis=1).mean())
        for policy in (Service(limits), PooledThompson(limits))
    )
    show("A/A with late outcomes: share of the leader", service, "≤ .81")
    show("the same from pooled counts", pooled, "> .9")
    assert service <= .81 + allowance(.14, runs)
    assert pooled > .9  # teeth


def _play(world: World) -> History:
    return simulate(world, Service(LIMITS), runs=RUNS, seed=20274, jobs=JOBS)


def _keeps_its_limits(history: History) -> None:
    """Published parts add up, floors hold once a variant is there, steps hold but where an entry widened them."""
    parts = np.concatenate([history.parts, history.parts_after[:, None]], axis=1)
    assert (parts.sum(axis=2) == PARTS).all()
    served = np.concatenate([history.world.present, history.world.present[-1:]])
    assert (parts[:, ~served] == 0).all()
    assert (parts[:, served] >= .05 * PARTS).all()
    steps = np.abs(np.diff(parts, axis=1)).max(axis=(0, 2))
    entries = {entry - 1 for entry in history.world.enters if entry}
    assert all(step <= .2 * PARTS for at, step in enumerate(steps) if at not in entries)
