"""What the posterior claims is what happens, when truths come from the model's own prior."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from worlds import Floats, belief_of

from trimtab.engine import Cells
from trimtab.engine.estimation import PRIOR_SD

RUNS = 300


def _draws(seed: int) -> list[tuple[Floats, Cells]]:
    """θ ~ N(0, .5²)³, three epochs with levels of their own and uneven traffic, 900 units each."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RUNS):
        theta, level = rng.normal(0, PRIOR_SD, 3), rng.normal(-2, .5, 3)
        n = np.stack([rng.multinomial(900, rng.dirichlet(np.full(3, 3.0))) for _ in level])
        y = rng.binomial(n, expit(level[:, None] + theta))
        sums = {
            (e, v): (int(n[e, k]), int(y[e, k]), int(y[e, k])) for e in range(3) for k, v in enumerate("abc")
        }
        found.append((theta, Cells.gather("abc", sums)))
    return found


def test_ninety_percent_intervals_of_contrasts_cover_ninety_percent() -> None:
    """K = 3, E = 3, R = 300: .90 ± .02 and three standard errors (.052). Half the width must fail."""
    covered = narrow = 0
    for theta, cells in _draws(20264):
        belief = belief_of(cells)
        miss = abs(belief.effects[0] - (theta[0] - theta.mean())) / belief.effect_sds[0]
        covered += miss <= 1.6449
        narrow += miss <= 1.6449 / 2
    assert abs(covered / RUNS - .90) <= .072
    assert narrow / RUNS < .828  # teeth


def test_the_claimed_best_is_best_as_often_as_claimed() -> None:
    """Mean claimed P(best) of the leader against how often it led: three standard errors, √(Σp(1 − p))/R."""
    claims, hits = [], []
    for theta, cells in _draws(20265):
        p = belief_of(cells).p_best
        claims.append(p.max())
        hits.append(p.argmax() == theta.argmax())
    error = np.sqrt(sum(p * (1 - p) for p in claims)) / RUNS
    assert abs(np.mean(claims) - np.mean(hits)) <= 3 * error
    assert abs(np.mean(np.sqrt(claims)) - np.mean(hits)) > 3 * error  # teeth: over-confident claims
