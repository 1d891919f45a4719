"""A variant added half-way has seen only its own times: good ones must not make it, bad ones must not break it.

World: K = 3, 40 batches of 2,000, the third variant enters at batch 20, the others are equal; floor .05, no step limit,
no least evidence. Base rates run from 4 % to 12 %, or back.
"""

from __future__ import annotations

from worlds import JOBS, allowance, show, size

from trimtab.schema.constraints import Constraints
from trimtab.simulation import History, Policy, PooledThompson, Service, World, make_world, simulate

LIMITS = Constraints(min_weight=.05, max_step=1.0, min_trials=0, cooldown_seconds=0)
RISING = make_world("late", [.04, .04, .036], steps=40, batch=2000, to=3)
FALLING = make_world("late", [.12, .12, .144], steps=40, batch=2000, to=1 / 3)
RUNS, CHEAP_RUNS = size(16, 500), 100


def test_a_variant_ten_percent_worse_stays_small_on_a_rising_base_rate() -> None:
    """Mean final weight ≤ .15: it is .06 with a spread of .03, so 16 runs need no allowance. Pooled counts: .9."""
    weight, pooled = (_final_weight(_play(RISING, policy)) for policy in (Service(LIMITS), PooledThompson(LIMITS)))
    show("final weight of a late, worse variant", weight, "≤ .15")
    show("the same from pooled counts", pooled, "> .8")
    assert weight <= .15
    assert pooled > .8  # teeth


def test_a_variant_twenty_percent_better_comes_out_on_top_on_a_falling_base_rate() -> None:
    """On top in ≥ .97 of runs; with that probability, 16 runs stay above .97 − 3·√(.97·.03/16) = .84. Pooled: never."""
    top, pooled = (_on_top(_play(FALLING, policy)) for policy in (Service(LIMITS), PooledThompson(LIMITS)))
    show("late, better variant on top", top, "≥ .97")
    show("the same from pooled counts", pooled, "< .1")
    assert top >= .97 - allowance((.97 * .03) ** .5, RUNS)
    assert pooled < .1  # teeth


def _play(world: World, policy: Policy) -> History:
    runs = CHEAP_RUNS if isinstance(policy, PooledThompson) else RUNS
    return simulate(world, policy, runs=runs, seed=20272, jobs=JOBS)


def _final_weight(history: History) -> float:
    return float(history.weights_after[:, 2].mean())


def _on_top(history: History) -> float:
    return float((history.parts_after.argmax(axis=1) == 2).mean())
