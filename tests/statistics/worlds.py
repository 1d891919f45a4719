"""What the tests of this folder share: sizes, bars beside figures, the service's belief, and the pooled way to err.

The worlds are `trimtab.simulation`'s and `inference_worlds`'; every test names its own.

Two sizes: by default a test takes what fits into seconds and allows three standard errors beyond its bar; with
`TRIMTAB_STATISTICS=full` it takes the size the bar is stated for, and the bar holds as it stands.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.engine import Belief, Cells, estimate, probability_best_beta
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]
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
