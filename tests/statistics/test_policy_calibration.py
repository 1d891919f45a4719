"""What the posterior claims of every contrast is what happens, for every kind of metric.

World: θ drawn from the model's own prior, N(0, τ²) with τ = .5 on the logit or log scale and half a standard deviation
for means; K = 3, four epochs with levels of their own and uneven traffic, 800 units each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy.special import expit, kolmogorov, ndtr
from worlds import Floats, allowance, belief_of, show, size

from trimtab.schema.experiment import MetricKind
from trimtab.simulation import Binary, Continuous, Count, Outcome, Revenue, World
from trimtab.simulation.policies import cells_of

RUNS = size(500, 2000)
EPOCHS, VARIANTS, BATCH = 4, 3, 800
CONTRASTS = ((1, 0), (2, 0), (2, 1))
EVERYBODY = np.ones(VARIANTS, bool)


@dataclass(frozen=True)
class Kind:
    """An outcome, how its rates follow from levels and effects, and the prior's spread."""

    outcome: Outcome
    rates: Callable[[Floats], Floats]
    level: float
    prior_sd: float = .5


KINDS = {
    MetricKind.BINARY: Kind(Binary(), expit, -2.0),
    MetricKind.COUNT: Kind(Count(2.0), np.exp, -.5),
    MetricKind.CONTINUOUS: Kind(Continuous(2.0), lambda x: x, 10.0, prior_sd=1.0),
    # A third buys: the share model takes sums as if of one scatter, so orders are not to be too rare nor too wild.
    MetricKind.REVENUE: Kind(Revenue(value=20.0, log_sd=.5, cap=100.0), lambda x: np.minimum(np.exp(x), 1), -2.5),
}


@cache
def _claims(kind: MetricKind) -> tuple[Floats, Floats, Floats]:
    """z of each contrast's truth under its posterior (R, 3), P(best) (R, K), and who was best (R, K)."""
    rng, case = np.random.default_rng(20273), KINDS[kind]
    z, claimed, best = np.empty((RUNS, 3)), np.empty((RUNS, VARIANTS)), np.zeros((RUNS, VARIANTS))
    for run in range(RUNS):
        theta = rng.normal(0, case.prior_sd, VARIANTS)
        levels = case.level + rng.normal(0, case.prior_sd, EPOCHS)
        world = World("prior", case.rates(levels[:, None] + theta), BATCH, case.outcome)
        epochs = [world.draw(e, rng.dirichlet(np.full(VARIANTS, 3.0)), rng) for e in range(EPOCHS)]
        sums = type(epochs[0]).concatenate(epochs)
        belief = belief_of(cells_of(world, sums, EVERYBODY), kind)
        for place, (j, i) in enumerate(CONTRASTS):
            variance = belief.covariance[j, j] + belief.covariance[i, i] - 2 * belief.covariance[i, j]
            z[run, place] = (theta[j] - theta[i] - belief.theta[j] + belief.theta[i]) / np.sqrt(variance)
        claimed[run], best[run, theta.argmax()] = belief.p_best, 1
    return z, claimed, best


@pytest.mark.parametrize("kind", KINDS)
def test_ninety_percent_intervals_of_every_contrast_cover_ninety_percent(kind: MetricKind) -> None:
    """.90 ± .02 for each of the contrasts; intervals of 80 % their width must fail."""
    z, _, _ = _claims(kind)
    for (j, i), column in zip(CONTRASTS, np.abs(z).T, strict=True):
        covered = float((column <= 1.6449).mean())
        show(f"{kind}: cover of {j} − {i}", covered, ".90 ± .02")
        assert abs(covered - .90) <= .02 + allowance(.3, RUNS)
    assert (np.abs(z) <= .8 * 1.6449).mean() < .88 - allowance(.3, RUNS)  # teeth


@pytest.mark.parametrize("kind", KINDS)
def test_truths_fall_evenly_over_their_posteriors(kind: MetricKind) -> None:
    """Kolmogorov's p of the PIT ≥ .001 for each contrast; posteriors 25 % too narrow, or off by .2 sd, must fail."""
    z, _, _ = _claims(kind)
    for (j, i), column in zip(CONTRASTS, z.T, strict=True):
        p = _evenness(column)
        show(f"{kind}: PIT p of {j} − {i}", p, "≥ .001")
        assert p >= .001
    assert _evenness(z[:, 0] + .2) < .001 or _evenness(z[:, 0] / .75) < .001  # teeth


@pytest.mark.parametrize("kind", KINDS)
def test_of_variants_given_some_chance_to_be_best_as_many_are(kind: MetricKind) -> None:
    """Bins of claimed P(best), ten of them, with ≥ 100 claims: what happened within 3 s.e. of what was claimed."""
    _, claimed, best = _claims(kind)
    checked = 0
    for low in np.arange(10) / 10:
        inside = (claimed >= low) & (claimed < low + .1 + (low == .9))
        if inside.sum() < 100:
            continue
        checked += 1
        error = np.sqrt((claimed[inside] * (1 - claimed[inside])).sum()) / inside.sum()
        off = float(abs(best[inside].mean() - claimed[inside].mean()) / error)
        show(f"{kind}: P(best) from {low:.1f}, {inside.sum()} claims, off by s.e.", off, "≤ 3")
        assert off <= 3
    assert checked >= 2
    overclaimed = np.sqrt(claimed.max(axis=1))
    error = np.sqrt((overclaimed * (1 - overclaimed)).sum()) / RUNS
    hits = best[np.arange(RUNS), claimed.argmax(axis=1)]
    assert abs(hits.mean() - overclaimed.mean()) > 3 * error  # teeth


def _evenness(z: Floats) -> float:
    """Kolmogorov's p that Φ(z) is uniform."""
    pit, n = np.sort(ndtr(z)), len(z)
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - pit).max()), float((pit - steps[:-1]).max()))
    return float(kolmogorov(np.sqrt(n) * distance))
