"""Weights move while base rates drift: cells kept per epoch tell the truth, pooled counts do not."""

from __future__ import annotations

import numpy as np
from worlds import JOBS, Floats, belief_of, pooled_p_best, pooled_z, show, size

from trimtab.engine import Cells
from trimtab.schema.constraints import Constraints
from trimtab.simulation import Policy, PooledThompson, Service, Sums, World, simulate
from trimtab.simulation.policies import cells_of

FREE = Constraints(min_weight=.05, max_step=1.0, min_trials=0, cooldown_seconds=0)
RAMP = World("ramp", (.025 + .1 * np.arange(40) / 40)[:, None] * np.ones(2), 1000)


def test_simpsons_table_picks_the_variant_that_is_better_in_both_periods() -> None:
    """A 2,000@5 % B 8,000@6 %, then A 8,000@10 % B 2,000@11 %: B in ≥ .965 of runs, pooled A.

    R = 400 (full 4,000), less three standard errors: .937. Pooled rates are .09 and .07, 5 standard errors apart.
    """
    rng, runs = np.random.default_rng(20261), size(400, 4000)
    n, rate = np.array([[2000, 8000], [8000, 2000]]), np.array([[.05, .06], [.10, .11]])
    right = fooled = 0
    for y in rng.binomial(n, rate, (runs, 2, 2)).tolist():
        sums = {(e, v): (int(n[e][k]), y[e][k], y[e][k]) for e in (0, 1) for k, v in enumerate("ab")}
        cells = Cells.gather("ab", sums)
        right += belief_of(cells).p_best[1] > .5
        fooled += pooled_p_best(cells)[0] > .5
    show("Simpson: B picked", right / runs, "≥ .965 − 3 s.e.")
    show("Simpson: A picked from pooled counts", fooled / runs, "≥ .99")
    assert right / runs >= .965 - 3 * (.965 * .035 / runs) ** .5
    assert fooled >= .99 * runs  # teeth: the wrong method picks A


def test_identical_variants_on_a_rising_base_rate_are_not_told_apart() -> None:
    """A/A, K = 2, base rate 2.5 → 12.5 % over 40 epochs of 1,000, floor .05, no step limit. R = 40 (full 600).

    The service ends above P(best) = .975 for one of them in .073 of runs (300 runs; a calibrated claim does in .05, and
    weights that follow the data lean a little more), so R runs stay below that and three standard errors. Teeth: pooled
    counts in a pooled loop call a winner, by P(best) and by p < .05, in 99 %.
    """
    runs = size(40, 600)
    service, pooled = _last(Service(FREE), runs), _last(PooledThompson(FREE), 100)
    claimed = float(np.mean([belief_of(cells).p_best.max() > .975 for cells in service]))
    fooled = float(np.mean([pooled_p_best(cells).max() > .975 for cells in pooled]))
    rejected = float(np.mean([pooled_z(cells) < .05 for cells in pooled]))
    show("A/A on a ramp: sure of a winner", claimed, "≤ .073 + 3 s.e.")
    show("A/A on a ramp: sure of a winner from pooled counts", fooled, "≥ .9")
    show("A/A on a ramp: pooled z rejects", rejected, "≥ .9")
    assert claimed <= .073 + 3 * (.073 * .927 / runs) ** .5
    assert fooled >= .9
    assert rejected >= .9


def _last(policy: Policy, runs: int) -> list[Cells]:
    """What each run ends up with."""
    history = simulate(RAMP, policy, runs=runs, seed=20262, jobs=JOBS)
    return [history.cells(run) for run in range(runs)]


def test_a_worse_variant_added_half_way_on_a_rising_base_rate_stays_small() -> None:
    """K = 3, 10 % worse third variant from epoch 15 of 30 × 1,000, base 4 → 12 %, fixed shares: mean P(best) ≤ .15.

    One run gives .09 with s.d. .13 (100 runs), so the mean of 60 stays below .09 + 3·.13/√60 = .14. Teeth: pooled
    counts give it nearly everything (.93), for it has only seen the good times.
    """
    rng, runs = np.random.default_rng(20263), size(60, 600)
    base = .04 + .08 * np.arange(30) / 30
    world = World("late", base[:, None] * np.array([1, 1, .9]), 1000, enters=(0, 0, 15))
    late: list[Floats] = []
    for _ in range(runs):
        shares = ([.5, .5, 0] if e < 15 else [.4, .4, .2] for e in range(30))
        sums = Sums.concatenate([world.draw(e, np.array(share), rng) for e, share in enumerate(shares)])
        cells = cells_of(world, sums, np.ones(3, bool))
        late.append(np.array([belief_of(cells).p_best[2], pooled_p_best(cells)[2]]))
    service, fooled = (float(mean) for mean in np.mean(late, axis=0))
    show("late, worse variant: P(best)", service, "≤ .15")
    show("the same from pooled counts", fooled, "≥ .6")
    assert service <= .15
    assert fooled >= .6  # teeth
