"""Worlds with known truth, and the loops that live in them; every bar of a test names one of these.

Two sizes: by default a test takes what fits into seconds and allows three standard errors beyond its bar; with
`TRIMTAB_STATISTICS=full` it takes the size the bar is stated for, and the bar holds as it stands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.engine import Belief, Cells, Result, decide, estimate, estimate_inputs, probability_best_beta
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.experiment import Experiment, MetricKind

Floats = npt.NDArray[np.float64]
Sums = dict[tuple[int, str], tuple[int, int, int]]
IDS = "abcdefgh"
FULL = os.environ.get("TRIMTAB_STATISTICS") == "full"  # read at import: no test sees settings from outside
JOBS = (os.cpu_count() or 1) if FULL else 1


def size(reduced: int, full: int) -> int:
    """How many runs."""
    return full if FULL else reduced


def allowance(spread: float, *counts: int) -> float:
    """Three standard errors of a mean of runs with this spread, or of a difference of two; none at full size."""
    return 0.0 if FULL else 3 * spread * float(np.sqrt(sum(1 / count for count in counts)))


def show(what: str, measured: float, bar: str) -> None:
    """One line beside the bar; `pytest -rP` prints it."""
    sys.stdout.write(f"{what}: {measured:.4g} (bar: {bar})\n")


@dataclass
class World:
    """Binary variants with `rates(epoch)` (K,), served by current weights, `batch` units an epoch."""

    rates: Callable[[int], Floats]
    batch: int
    limits: Constraints
    sums: Sums = field(default_factory=dict)

    def serve(self, epoch: int, weights: Sequence[float], rng: np.random.Generator) -> None:
        """One epoch of traffic."""
        n = rng.multinomial(self.batch, np.array(weights) / sum(weights))
        successes = rng.binomial(n, self.rates(epoch)[: len(weights)])
        for k in range(len(weights)):
            self.sums[epoch, IDS[k]] = (int(n[k]), int(successes[k]), int(successes[k]))

    def cells(self, variants: int) -> Cells:
        return Cells.gather(IDS[:variants], self.sums)

    def decide(self, previous: dict[str, int]) -> Result:
        """What the service does with what was seen so far."""
        ids = sorted(previous)
        experiment = Experiment.parse(
            {
                "id": "world",
                "variants": [{"id": variant} for variant in ids],
                "metrics": [{"name": "m", "kind": "binary"}],
                "constraints": self.limits.model_dump(),
                "salt": "s",
            }
        )
        return decide(estimate_inputs(self.cells(len(ids)), experiment, previous=previous, now=0))


def belief_of(cells: Cells, kind: MetricKind = MetricKind.BINARY) -> Belief:
    """The service's posterior from cells."""
    found = estimate(cells, kind)
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd)


def pooled_p_best(cells: Cells) -> Floats:
    """The wrong method: P(best) from counts added up over epochs, as most bandits do."""
    successes, trials = np.array(cells.totals), np.array(cells.trials)
    return probability_best_beta(1 + successes, 1 + trials - successes)


def pooled_z(cells: Cells) -> float:
    """The wrong test: two-sided p of the pooled two-proportion z."""
    (s0, s1), (n0, n1) = cells.totals, cells.trials
    rate = (s0 + s1) / (n0 + n1)
    z = (s1 / n1 - s0 / n0) / np.sqrt(rate * (1 - rate) * (1 / n0 + 1 / n1))
    return float(2 * ndtr(-abs(z)))


def even(variants: int) -> dict[str, int]:
    share, rest = divmod(PARTS, variants)
    return {IDS[k]: share + (k < rest) for k in range(variants)}
