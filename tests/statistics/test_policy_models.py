"""What the models are for: rare events, scattered counts, and many epochs merged into few; the shorter ways all fail.

Shares of traffic are fixed here, so that only the estimate is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import expit, logit, ndtr
from worlds import Floats, allowance, belief_of, show, size

from trimtab.engine import Cells
from trimtab.fold import ExperimentState
from trimtab.fold.state import EpochRecord
from trimtab.schema.base import PARTS
from trimtab.schema.experiment import Experiment, MetricKind, Status
from trimtab.simulation import Count, Sums, World
from trimtab.simulation.policies import cells_of
from trimtab_worker.services.maintain import nearest_neighbours


def drawn(world: World, shares: Floats, runs: int, seed: int) -> Iterator[Cells]:
    """Cells of each run, all steps under the same `shares` (K,) or under their own (T, K)."""
    rng = np.random.default_rng(seed)
    served = np.broadcast_to(shares, world.rates.shape)
    for _ in range(runs):
        sums = Sums.concatenate([world.draw(e, served[e], rng) for e in range(world.steps)])
        yield cells_of(world, sums, np.ones(world.size, bool))


def inverse_variance(cells: Cells) -> float:
    """The wrong method: P(b better) from log odds of each epoch, ½ added to every count, weighed by 1/variance."""
    y, n = cells.sums + .5, cells.counts + 1
    apart = np.diff(np.log(y / (n - y)), axis=1)[:, 0]
    weight = 1 / (1 / y + 1 / (n - y)).sum(axis=1)
    return float(ndtr((weight * apart).sum() / np.sqrt(weight.sum())))


def test_rare_events_are_not_read_off_from_how_little_traffic_there_was() -> None:
    """A/A at .001, K = 2, 60 × 2,000, shares .8/.2: the mean of P(b better) is ½ as for any calibrated claim.

    Its spread is that of a uniform, .29 (less: the prior). Teeth: the half success that each of 60 near-empty cells is
    given makes b better beyond doubt.
    """
    runs = size(60, 600)
    world = World("rare", np.full((60, 2), .001), 2000)
    found = np.array(
        [(belief_of(c).p_best[1], inverse_variance(c)) for c in drawn(world, np.array([.8, .2]), runs, 20281)]
    )
    service, naive = (float(mean) for mean in found.mean(axis=0))
    show("rare A/A: mean P(b better)", service, ".5 ± 3 s.e.")
    show("rare A/A: the same by inverse variances", naive, "≥ .95")
    assert abs(service - .5) <= 3 * .29 / runs**.5
    assert naive >= .95


def test_a_rare_events_best_variant_is_found_where_inverse_variances_find_the_other() -> None:
    """.0013 with four fifths of the traffic against .001 with one, K = 2, 60 × 2,000.

    The difference is two standard errors of the rarer side's 24 + 125 successes on the log scale, .26/√(1/24 + 1/125) =
    1.2: found in Φ(1.2) = .88. R runs stay above that less three standard errors. Teeth: the other way finds the wrong.
    """
    runs = size(60, 600)
    world = World("rare", np.tile([.0013, .001], (60, 1)), 2000)
    found = np.array(
        [(belief_of(c).p_best[0] > .5, inverse_variance(c) < .5) for c in drawn(world, np.array([.8, .2]), runs, 20282)]
    )
    service, naive = (float(mean) for mean in found.mean(axis=0))
    show("rare events: best variant found", service, "≥ .88 − 3 s.e.")
    show("rare events: the same by inverse variances", naive, "≤ .05")
    assert service >= .88 - 3 * (.88 * .12 / runs) ** .5
    assert naive <= .05


def test_scattered_counts_are_no_reason_to_claim_a_winner() -> None:
    """A/A, counts of mean 2 with five times a Poisson's variance, K = 2, 5 × 2,000, even shares.

    A calibrated P(best) is above .95 on either side in ≤ .10 of runs. Teeth: a Poisson's variance claims in ≥ .40.
    """
    runs = size(200, 2000)
    world = World("scattered", np.full((5, 2), 2.0), 2000, Count(5.0))
    service = naive = 0
    for cells in drawn(world, np.array([.5, .5]), runs, 20283):
        service += belief_of(cells, MetricKind.COUNT).p_best.max() > .95
        n, total = np.array(cells.trials), np.array(cells.totals)
        z = abs(total[1] / n[1] - total[0] / n[0]) / np.sqrt((total / n**2).sum())
        naive += z > 1.645
    show("scattered counts, A/A: sure of a winner", service / runs, "≤ .10 + 3 s.e.")
    show("scattered counts, A/A: sure of a winner as if Poisson", naive / runs, "≥ .40")
    assert service / runs <= .10 + 3 * (.10 * .90 / runs) ** .5
    assert naive / runs >= .40


def test_six_hundred_epochs_merged_into_a_hundred_and_twenty_eight_say_the_same() -> None:
    """θ = .05 on a base that swings between 4 and 12 % every 100 of 600 epochs × 200, b's share following it in small
    steps: the worst case for pooling. Merged, b's effect moves by ≤ .2 of its standard deviation in the mean of runs,
    and intervals of 90 % cover in ≥ .88. R = 40 (full 400).

    Teeth: merged into one, the effect moves by many; and by more than one where each epoch joins its nearest neighbour
    whatever that one has joined already, for then a slow drift becomes one epoch.
    """
    runs, epochs = size(40, 400), 600
    base = .08 + .04 * np.sin(np.arange(epochs) / 100 * 2 * np.pi)
    share = np.round(.5 + .4 * np.sin((np.arange(epochs) - 5) / 100 * 2 * np.pi), 3)
    world = World("seasons", expit(logit(base)[:, None] + np.array([0, .05])), 200)
    shares = np.stack([1 - share, share], axis=1)
    into = _merged(shares)
    ways = {"merged": into, "chained": _chained(shares), "one": np.zeros(epochs, int)}
    moved, covered = dict.fromkeys(ways, 0.0), 0
    for cells in drawn(world, shares, runs, 20284):
        exact, sd = _effect(cells)
        found = {name: _effect(_merge(cells, way)) for name, way in ways.items()}
        for name, (effect, _) in found.items():
            moved[name] += abs(effect - exact) / sd / runs
        covered += abs(found["merged"][0] - .05) <= 1.645 * found["merged"][1]
    show("600 → 128 epochs: the effect moves, in standard deviations", moved["merged"], "≤ .2")
    show("600 → 128 epochs, chained", moved["chained"], "> 1")
    show("600 → 1 epoch", moved["one"], "> 2")
    show("600 → 128 epochs: 90 % intervals cover", covered / runs, "≥ .88")
    assert moved["merged"] <= .2
    assert covered / runs >= .88 - allowance(.3, runs)
    assert moved["chained"] > 1
    assert moved["one"] > 2


def _merged(shares: Floats) -> np.ndarray:
    """(E,) the merged epoch of each, as the service merges."""
    experiment = Experiment.parse(
        {"id": "e", "variants": [{"id": "a"}, {"id": "b"}], "metrics": [{"name": "m", "kind": "binary"}]}
    )
    state = ExperimentState(experiment, Status.RUNNING)
    for epoch, row in enumerate(np.rint(shares * PARTS).astype(int).tolist()):
        state.epochs[epoch] = EpochRecord(epoch * 60_000, dict(zip("ab", row, strict=True)))
    into = nearest_neighbours(state, keep=128)
    assert len(shares) - len(into) == 128
    return np.array([into.get(epoch, epoch) for epoch in range(len(shares))])


def _chained(shares: Floats) -> np.ndarray:
    """The wrong way: the 472 smallest steps are closed, wherever they lie."""
    steps = np.abs(np.diff(shares[:, 1]))
    begins = np.concatenate([[True], ~np.isin(np.arange(len(steps)), np.argsort(steps, kind="stable")[:472])])
    return np.flatnonzero(begins)[begins.cumsum() - 1]


def _merge(cells: Cells, into: np.ndarray) -> Cells:
    sums = {}
    for epoch in np.unique(into):
        for k, variant in enumerate(cells.variants):
            inside = into == epoch
            sums[int(epoch), variant] = tuple(int(a[inside, k].sum()) for a in (cells.n, cells.total, cells.total_sq))
    return Cells.gather(cells.variants, sums)


def _effect(cells: Cells) -> tuple[float, float]:
    belief = belief_of(cells)
    covariance = belief.covariance
    return float(belief.theta[1] - belief.theta[0]), float(
        np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    )
