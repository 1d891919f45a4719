"""Simpson's table, drawn again and again: better in each of two periods, worse in their sum.

World: period 1 A 2,000@.05 B 8,000@.06, period 2 A 8,000@.10 B 2,000@.11, each unit assigned by a coin of those shares.
`test_drift` holds the same table with fixed group sizes; here it is asked at full size, and of counts as of rates.
"""

from __future__ import annotations

import numpy as np
import pytest
from worlds import allowance, belief_of, pooled_p_best, show, size

from trimtab.simulation import Binary, Count, Outcome, Sums, World
from trimtab.simulation.policies import cells_of

RATES, SHARES = np.array([[.05, .06], [.10, .11]]), np.array([[.2, .8], [.8, .2]])
RUNS = size(150, 2000)


@pytest.mark.parametrize("outcome", [Binary(), Count(1.0)], ids=["binary", "count"])
def test_the_better_variant_of_both_periods_is_picked_though_pooled_counts_say_otherwise(outcome: Outcome) -> None:
    """B in ≥ .965 of runs. Its effect on the log scale is 2.1 standard errors of a count, 2.2 of a rate: ≥ .98."""
    world, rng = World("simpson", RATES, 10_000, outcome), np.random.default_rng(20276)
    right = fooled = 0
    for _ in range(RUNS):
        sums = Sums.concatenate([world.draw(e, SHARES[e], rng) for e in (0, 1)])
        cells = cells_of(world, sums, np.ones(2, bool))
        right += belief_of(cells, outcome.kind).p_best[1] > .5
        fooled += pooled_p_best(cells)[0] > .5
    show(f"{outcome.kind}: B picked", right / RUNS, "≥ .965")
    show(f"{outcome.kind}: A picked from pooled counts", fooled / RUNS, "≥ .99")
    assert right / RUNS >= .965 - allowance((.965 * .035) ** .5, RUNS)
    assert fooled >= .99 * RUNS  # teeth
