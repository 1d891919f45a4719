"""statistics → decision, statistics → report"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.system import fastest
from logs import definition
from trimtab.adapters.memory import MemoryPartition
from trimtab.engine import Cells, decide, estimate_inputs
from trimtab.fold import Cell, ExperimentState
from trimtab.fold.state import EpochRecord
from trimtab.ports import Published
from trimtab.schema.experiment import Experiment, Status
from trimtab_worker.services.evidence import gather_cells, look_again, split_sums, tests_json
from trimtab_worker.services.report import report

VARIANTS = tuple("abcde")
EXPERIMENTS = 10_000
PREVIOUS = dict.fromkeys(VARIANTS, 200_000)


def measure() -> dict[str, float]:
    rate = fastest(lambda: _rate(epochs=1, experiments=EXPERIMENTS), runs=2)
    return {
        "experiments_per_second": rate,
        "seconds_for_10000_experiments": EXPERIMENTS / rate,
        "experiments_of_20_epochs_per_second": _rate(epochs=20, experiments=100),
        "experiments_of_50_epochs_per_second": _rate(epochs=50, experiments=100),
        "experiments_of_512_epochs_per_second": _rate(epochs=512, experiments=20),
        "report_seconds_512_epochs": _report_seconds(epochs=512, variants=10),
    }


def _rate(*, epochs: int, experiments: int) -> float:
    """Experiments of five variants decided a second, from exact sums to parts and sentences, one after the other.

    A second of processor time, so that whatever else the machine does counts for less.
    """
    experiment = Experiment.parse(definition(variants=[{"id": name} for name in VARIANTS]))
    rng = np.random.default_rng(1)
    worlds = [_sums(rng, epochs) for _ in range(experiments)]
    started = time.process_time()
    for sums in worlds:
        cells = Cells.gather(VARIANTS, sums)
        decide(estimate_inputs(cells, experiment, previous=PREVIOUS, now=0))
    return experiments / (time.process_time() - started)


METRICS = (
    {"name": "converted", "kind": "binary", "primary": True},
    {"name": "crashed", "kind": "binary", "direction": "decrease"},
    {"name": "clicks", "kind": "count"},
    {"name": "rating", "kind": "continuous"},
    {"name": "amount", "kind": "revenue"},
)


class _Kept(MemoryPartition):
    """A partition that keeps one state."""

    def __init__(self, state: ExperimentState) -> None:
        super().__init__()
        self._kept = state

    def load_experiments(self, names: Any) -> dict[str, ExperimentState | None]:
        return dict.fromkeys(names, self._kept)


def _report_seconds(*, epochs: int, variants: int) -> float:
    """One report of five metrics, with its JSON; after the end, when it takes a look of its own. The best of 5."""
    rng = np.random.default_rng(1)
    ids = [f"v{k}" for k in range(variants)]
    experiment = Experiment.parse(
        definition(variants=[{"id": name} for name in ids], metrics=list(METRICS), unit="unit")
    )
    state = ExperimentState(experiment, Status.RUNNING)
    for epoch in range(1, epochs + 1):
        state.epochs[epoch] = EpochRecord(epoch * 60_000, dict.fromkeys(ids, 1_000_000 // variants))
        for variant, n in zip(ids, map(int, rng.multinomial(1000, np.full(variants, 1 / variants))), strict=True):
            state.trials[epoch, variant] = state.stamped[epoch, variant] = n
            for metric in experiment.metrics:
                hits = int(rng.binomial(n, .1))
                amount = hits * metric.scale
                state.cells[epoch, variant, metric.name] = Cell(n, amount, amount * metric.scale)
    cells = gather_cells(experiment, split_sums(experiment, state))
    claims = tests_json(look_again(experiment, cells, {}))
    store, current = _Kept(state), Published(experiment, Status.STOPPED, claims=claims)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        report(store, current).document()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _sums(rng: np.random.Generator, epochs: int) -> dict[tuple[int, str], tuple[int, int, int]]:
    sums = {}
    for epoch in range(1, epochs + 1):
        base = rng.uniform(.03, .08)
        for variant in VARIANTS:
            n = int(rng.integers(2_000, 6_000))
            s = int(rng.binomial(n, base * rng.uniform(.9, 1.1)))
            sums[epoch, variant] = (n, s, s)
    return sums
