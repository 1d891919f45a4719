"""Statistics for people and programs: what the fold holds of one experiment, in natural units beside exact sums."""

from __future__ import annotations

from collections import defaultdict

from pydantic import Field

from trimtab.errors import NotFound
from trimtab.fold import Cell, ExperimentState
from trimtab.ports import PartitionStore
from trimtab.schema.base import Schema
from trimtab.schema.experiment import Status


class Sums(Schema):
    """n values of a metric: their sum and sum of squares, exact as scaled integers and in the metric's own unit."""

    n: int
    total: float
    total_sq: float
    mean: float | None = Field(description="total / n; None without values.")
    scaled_total: int = Field(description="Σ round-half-even(x·scale).")
    scaled_total_sq: int


class CellStatistics(Sums):
    """One metric in one epoch × variant."""

    epoch: int
    variant: str
    metric: str


class EpochStatistics(Schema):
    """One epoch: when it began (milliseconds), what it served, how many trials each variant had in it."""

    epoch: int
    started_at: int
    parts: dict[str, int]
    trials: dict[str, int]


class Statistics(Schema):
    """All of an experiment's statistics; `totals` are for people only: pooled means mislead while weights move."""

    experiment_id: str
    status: Status
    data_until: int = Field(description="The log's clock up to which events are in, milliseconds.")
    epochs: list[EpochStatistics]
    cells: list[CellStatistics]
    trials: dict[str, int] = Field(description="Trials per variant over all epochs.")
    totals: dict[str, dict[str, Sums]] = Field(description="variant → metric → sums over all epochs.")
    folded: int
    duplicates: int
    capped: int = Field(description="Outcomes beyond what one unit may add in an hour.")
    conflicts: int = Field(description="Repetitions in one batch that said something else than the first.")
    unstamped: int = Field(description="Events that named neither epoch nor exposed_at.")
    clipped: dict[str, int] = Field(description="Values clipped to a metric's cap, per metric.")
    dead: dict[str, int] = Field(description="Dead letters per reason code.")


def statistics(store: PartitionStore, experiment_id: str) -> Statistics:
    """What the fold holds of the experiment.

    Raises:
        NotFound: the fold has not read its definition (yet).
    """
    partition = store.load()
    state = store.load_experiments([experiment_id])[experiment_id]
    if state is None:
        raise NotFound(
            f"Partition {store.partition} has no statistics of experiment {experiment_id!r} yet; "
            "is an ingest worker running?"
        )
    return Statistics(
        experiment_id=experiment_id,
        status=state.status,
        data_until=partition.clock,
        epochs=_epochs(state),
        cells=_cells(state),
        trials=_trials(state),
        totals=_totals(state),
        folded=state.counters["folded"],
        duplicates=state.counters["duplicates"],
        capped=state.counters["capped"],
        conflicts=state.counters["conflicts"],
        unstamped=state.counters["unstamped"],
        clipped=_counted(state, "clipped"),
        dead=_counted(state, "dead"),
    )


def _epochs(state: ExperimentState) -> list[EpochStatistics]:
    trials: dict[int, dict[str, int]] = defaultdict(dict)
    for (epoch, variant), n in sorted(state.trials.items()):
        trials[epoch][variant] = n
    return [
        EpochStatistics(epoch=epoch, started_at=record.started_at, parts=record.parts, trials=trials[epoch])
        for epoch, record in state.epochs.items()
    ]


def _cells(state: ExperimentState) -> list[CellStatistics]:
    scales = {metric.name: metric.scale for metric in state.definition.metrics}
    return [
        CellStatistics(epoch=epoch, variant=variant, metric=metric, **_sums(cell, scales.get(metric, 1)))
        for (epoch, variant, metric), cell in sorted(state.cells.items())
    ]


def _trials(state: ExperimentState) -> dict[str, int]:
    total = dict.fromkeys(state.definition.variant_ids, 0)
    for (_, variant), n in state.trials.items():
        total[variant] = total.get(variant, 0) + n
    return total


def _totals(state: ExperimentState) -> dict[str, dict[str, Sums]]:
    totals: dict[str, dict[str, Sums]] = {}
    for variant in state.definition.variant_ids:
        for metric in state.definition.metrics:
            own = (cell for (_, v, m), cell in state.cells.items() if (v, m) == (variant, metric.name))
            sums = Sums.model_validate(_sums(sum(own, start=Cell()), metric.scale))
            totals.setdefault(variant, {})[metric.name] = sums
    return totals


def _sums(cell: Cell, scale: int) -> dict[str, float | int | None]:
    total = cell.total / scale
    return {
        "n": cell.n,
        "total": total,
        "total_sq": cell.total_sq / scale**2,
        "mean": total / cell.n if cell.n else None,
        "scaled_total": cell.total,
        "scaled_total_sq": cell.total_sq,
    }


def _counted(state: ExperimentState, what: str) -> dict[str, int]:
    prefix = f"{what}:"
    return {name.removeprefix(prefix): n for name, n in sorted(state.counters.items()) if name.startswith(prefix)}
