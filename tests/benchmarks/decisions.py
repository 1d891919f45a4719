"""statistics → decision"""

from __future__ import annotations

import time

import numpy as np

from logs import definition
from trimtab.engine import Cells, decide, estimate_inputs
from trimtab.schema.experiment import Experiment

VARIANTS = tuple("abcde")
PREVIOUS = dict.fromkeys(VARIANTS, 200_000)


def measure() -> dict[str, float]:
    return {
        "experiments_per_second": _rate(epochs=1, experiments=1000),
        "experiments_of_50_epochs_per_second": _rate(epochs=50, experiments=100),
        "experiments_of_512_epochs_per_second": _rate(epochs=512, experiments=20),
    }


def _rate(*, epochs: int, experiments: int) -> float:
    """Experiments of five variants decided a second, from exact sums to parts and sentences."""
    experiment = Experiment.parse(definition(variants=[{"id": name} for name in VARIANTS]))
    rng = np.random.default_rng(1)
    worlds = [_sums(rng, epochs) for _ in range(experiments)]
    started = time.perf_counter()
    for sums in worlds:
        cells = Cells.gather(VARIANTS, sums)
        decide(estimate_inputs(cells, experiment, previous=PREVIOUS, now=0))
    return experiments / (time.perf_counter() - started)


def _sums(rng: np.random.Generator, epochs: int) -> dict[tuple[int, str], tuple[int, int, int]]:
    sums = {}
    for epoch in range(1, epochs + 1):
        base = rng.uniform(.03, .08)
        for variant in VARIANTS:
            n = int(rng.integers(2_000, 6_000))
            s = int(rng.binomial(n, base * rng.uniform(.9, 1.1)))
            sums[epoch, variant] = (n, s, s)
    return sums
