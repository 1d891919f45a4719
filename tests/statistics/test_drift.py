"""Weights move while base rates drift: cells kept per epoch tell the truth, pooled counts do not."""

from __future__ import annotations

import numpy as np
from worlds import World, belief_of, even, pooled_p_best, pooled_z

from trimtab.engine import Cells
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints

FREE = Constraints(min_weight=.05, max_step=1.0, min_trials=0, cooldown_seconds=0)


def test_simpsons_table_picks_the_variant_that_is_better_in_both_periods() -> None:
    """A 2,000@5 % B 8,000@6 %, then A 8,000@10 % B 2,000@11 %: B in ≥ .965 of runs, pooled A.

    R = 400: three standard errors below .965 are .937. Pooled rates are .09 and .07, 5 standard errors apart.
    """
    rng = np.random.default_rng(20261)
    n, rate = np.array([[2000, 8000], [8000, 2000]]), np.array([[.05, .06], [.10, .11]])
    right = fooled = 0
    for y in rng.binomial(n, rate, (400, 2, 2)).tolist():
        sums = {(e, v): (int(n[e][k]), y[e][k], y[e][k]) for e in (0, 1) for k, v in enumerate("ab")}
        cells = Cells.gather("ab", sums)
        right += belief_of(cells).p_best[1] > .5
        fooled += pooled_p_best(cells)[0] > .5
    assert right >= .937 * 400
    assert fooled >= .99 * 400  # teeth: the wrong method picks A


def test_identical_variants_on_a_rising_base_rate_are_not_told_apart() -> None:
    """A/A, K = 2, base rate 2.5 → 12.5 % over 40 epochs of 1,000, floor .05, no step limit, R = 120, seed below.

    The service's P(best) of one of them ends above .975 in 7 % of runs (300 runs), so 120 runs stay below
    .073 + 3·.024 = .145. Pooled counts in a pooled loop call a winner (P > .975, and p < .05) in 99 %.
    """
    rng, runs = np.random.default_rng(20262), 120
    claimed = pooled_claims = pooled_tests = 0
    for _ in range(runs):
        claimed += _last_claim(rng, pooled=False)[0]
        claim, rejected = _last_claim(rng, pooled=True)
        pooled_claims += claim
        pooled_tests += rejected
    assert claimed <= .145 * runs
    assert pooled_claims >= .9 * runs
    assert pooled_tests >= .9 * runs


def _last_claim(rng: np.random.Generator, *, pooled: bool) -> tuple[bool, bool]:
    """Whether the loop ends up sure of a winner between identical variants, and whether the pooled z agrees."""
    world = World(lambda epoch: np.full(2, .025 + .1 * epoch / 40), 1000, FREE)
    parts = even(2)
    for epoch in range(40):
        world.serve(epoch, list(parts.values()), rng)
        if pooled:
            share = float(np.clip(pooled_p_best(world.cells(2))[0], .05, .95))
            parts = {"a": round(share * PARTS), "b": PARTS - round(share * PARTS)}
        else:
            parts = world.decide(parts).parts
    cells = world.cells(2)
    p = pooled_p_best(cells) if pooled else belief_of(cells).p_best
    return bool(p.max() > .975), pooled_z(cells) < .05


def test_a_worse_variant_added_half_way_on_a_rising_base_rate_stays_small() -> None:
    """K = 3, 10 % worse third variant from epoch 15 of 30 × 1,000, base 4 → 12 %, R = 60: mean P(best) ≤ .15.

    One run gives .09 with s.d. .13 (100 runs), so the mean of 60 stays below .09 + 3·.13/√60 = .14; pooled counts give
    it nearly everything (.93), for it has only seen the good times.
    """
    rng = np.random.default_rng(20263)
    late, fooled = [], []
    for _ in range(60):
        world = World(lambda epoch: (.04 + .08 * epoch / 30) * np.array([1, 1, .9]), 1000, FREE)
        for epoch in range(30):
            world.serve(epoch, [.5, .5] if epoch < 15 else [.4, .4, .2], rng)
        cells = world.cells(3)
        late.append(belief_of(cells).p_best[2])
        fooled.append(pooled_p_best(cells)[2])
    assert np.mean(late) <= .15
    assert np.mean(fooled) >= .6  # teeth
