"""The report: what may be claimed of an experiment, for people; undiscounted cells, never pooled over epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trimtab.engine import Belief, Cells, estimate
from trimtab.errors import NotFound
from trimtab.fold import ExperimentState
from trimtab.inference import (
    ABResult,
    DecisionThresholds,
    Effect,
    EffectPosterior,
    Group,
    Leak,
    Measured,
    Recommendation,
    SampleRatio,
    aipw_effect,
    analyze_ab,
    assess,
    recommend,
    stratified_effect,
)
from trimtab.ports import PartitionStore, Published
from trimtab.schema.base import PARTS
from trimtab.schema.experiment import Experiment, Metric, MetricKind, Status
from trimtab_worker.services.evidence import Tests, check_split, gather_cells, look_again, parse_tests, treatments

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TreatmentReport:
    """One treatment against control by one metric."""

    treatment: str
    effect: Effect  # stratified over epochs
    effect_aipw: Effect
    recommendation: Recommendation  # with the always-valid claim, where units are counted


@dataclass(frozen=True)
class MetricReport:
    """One metric: its groups, and every treatment against control. P(best) is over all variants."""

    name: str
    kind: MetricKind
    direction: str
    primary: bool
    groups: tuple[Group, ...]
    p_best: dict[str, float]
    treatments: tuple[TreatmentReport, ...]


@dataclass(frozen=True)
class Report:
    """All that may be said of an experiment at `data_until` (milliseconds); `notes` say what may not be, and why."""

    experiment_id: str
    status: Status
    strategy: str
    unit: str
    data_until: int
    epochs: int
    metrics: tuple[MetricReport, ...]
    sample_ratio: SampleRatio | None
    leaks: tuple[Leak, ...]
    ab: ABResult | None
    sentence: str
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The report as JSON values."""
        return TypeAdapter(Report).dump_python(self, mode="json")  # type: ignore[no-any-return]


def report(store: PartitionStore, current: Published, thresholds: DecisionThresholds | None = None) -> Report:
    """The report of an experiment; reading it is no look, only a recompute records one.

    Raises:
        NotFound: the fold has not read the experiment's definition (yet).
    """
    experiment = current.experiment
    partition = store.load()
    state = store.load_experiments([experiment.id])[experiment.id]
    if state is None:
        raise NotFound(f"Partition {store.partition} has no statistics of {experiment.id!r} yet: is a worker running?")
    tests = parse_tests(current.claims) or look_again(experiment, state, {})
    ratio, leaks = check_split(experiment, state) or (None, ())
    measured = [Measured(metric, gather_cells(experiment, state, metric)) for metric in experiment.metrics]
    metrics = tuple(_metric(one, experiment, state, tests, thresholds) for one in measured)
    ab = _ab_test(experiment, measured, tests, ratio)
    return Report(
        experiment_id=experiment.id,
        status=current.status,
        strategy=experiment.strategy,
        unit=experiment.unit,
        data_until=partition.clock,
        epochs=len(state.epochs),
        metrics=metrics,
        sample_ratio=ratio,
        leaks=leaks,
        ab=ab,
        sentence=_sentence(experiment, metrics, ab, ratio),
        notes=tuple(_notes(experiment, state)),
    )


def _metric(
    measured: Measured,
    experiment: Experiment,
    state: ExperimentState,
    tests: Tests,
    thresholds: DecisionThresholds | None,
) -> MetricReport:
    metric, cells = measured.metric, measured.cells
    found = estimate(cells, metric.kind)
    belief = Belief.of(
        found.theta,
        found.information,
        found.precision,
        found.prior_sd,
        higher_is_better=metric.direction == "increase",
    )
    p_best = dict(zip(cells.variants, map(float, belief.p_best), strict=True))
    enough = min(cells.trials) >= experiment.constraints.min_trials
    return MetricReport(
        name=metric.name,
        kind=metric.kind,
        direction=metric.direction,
        primary=metric.primary,
        groups=tuple(
            Group(variant, n, total / n if n else None)
            for variant, n, total in zip(cells.variants, cells.trials, cells.totals, strict=True)
        ),
        p_best=p_best,
        treatments=tuple(
            _treatment(cells, metric, experiment, state, tests, belief, treatment, thresholds, enough, p_best)
            for treatment in treatments(experiment)
        ),
    )


def _treatment(
    cells: Cells,
    metric: Metric,
    experiment: Experiment,
    state: ExperimentState,
    tests: Tests,
    belief: Belief,
    treatment: str,
    thresholds: DecisionThresholds | None,
    enough: bool,
    p_best: dict[str, float],
) -> TreatmentReport:
    control, test = experiment.control, tests.get(metric.name, {}).get(treatment)
    claim = test.claim if test else None
    posterior = EffectPosterior.of(belief, cells, metric, control, treatment)
    return TreatmentReport(
        treatment=treatment,
        effect=stratified_effect(cells, metric, control, treatment),
        effect_aipw=aipw_effect(cells, metric, control, treatment, _served(cells, metric, state)),
        recommendation=recommend(
            treatment,
            assess(posterior, metric.direction, thresholds),
            claim,
            metric.direction,
            thresholds=thresholds,
            enough=enough and (claim is None or claim.enough),
            p_best=p_best[treatment],
        ),
    )


def _served(cells: Cells, metric: Metric, state: ExperimentState) -> dict[str, Floats]:
    """The share each variant was served with, in the epochs that `cells` has, in their order."""
    epochs = sorted({e for e, v, m in state.cells if m == metric.name and v in cells.variants})
    return {v: np.array([state.epochs[e].parts.get(v, 0) / PARTS for e in epochs]) for v in cells.variants}


def _ab_test(
    experiment: Experiment, measured: list[Measured], tests: Tests, ratio: SampleRatio | None
) -> ABResult | None:
    """The A/B test's own words, for experiments whose weights are fixed."""
    if experiment.strategy != "fixed" or len(experiment.active_ids) < 2:
        return None
    claims = {
        (metric, treatment): test.claim
        for metric, row in tests.items()
        for treatment, test in row.items()
        if test.claim is not None
    }
    return analyze_ab(
        measured,
        experiment.control,
        min_sample=max(1, experiment.constraints.min_trials),
        claims=claims,
        sample_ratio=ratio,
    )


def _sentence(
    experiment: Experiment, metrics: tuple[MetricReport, ...], ab: ABResult | None, ratio: SampleRatio | None
) -> str:
    if ab is not None:
        return ab.recommendation
    if ratio is not None and ratio.alarm:
        return ratio.sentence
    primary = next(metric for metric in metrics if metric.primary)
    if not primary.treatments:
        return f"{experiment.id} has one variant in service: there is nothing to compare."
    best = max(primary.treatments, key=lambda found: primary.p_best[found.treatment])
    return best.recommendation.sentence


def _notes(experiment: Experiment, state: ExperimentState) -> list[str]:
    notes = []
    if experiment.unit == "event":
        notes.append("One trial is an event here: events of one unit resemble each other, so nothing is always valid.")
    if state.counters["unstamped"]:
        notes.append(f"{state.counters['unstamped']:,} outcomes named no epoch; the split check leaves them out.")
    clipped = {name: n for name, n in state.counters.items() if name.startswith("clipped:") and n}
    for name, n in sorted(clipped.items()):
        notes.append(f"{n:,} values of {name.removeprefix('clipped:')} were clipped to its cap.")
    return notes
