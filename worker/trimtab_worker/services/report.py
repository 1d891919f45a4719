"""The report: what may be claimed of an experiment, for people; undiscounted cells, never pooled over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trimtab.engine import Belief, Cells, estimate
from trimtab.errors import NotFound
from trimtab.fold import ExperimentState
from trimtab.inference import (
    ABResult,
    Advice,
    DecisionThresholds,
    Effect,
    EffectPosterior,
    Group,
    Leak,
    Measured,
    Recommendation,
    SampleRatio,
    ValueRemaining,
    aipw_effect,
    analyze_ab,
    assess,
    recommend,
    stratified_effect,
    typical_mean,
    value_remaining,
)
from trimtab.ports import PartitionStore, Published
from trimtab.schema.experiment import Experiment, Metric, MetricKind, Status
from trimtab.succession import FINAL
from trimtab_worker.services.evidence import (
    Sums,
    Tests,
    check_split,
    gather_cells,
    look_again,
    parse_tests,
    split_sums,
    treatments,
)

Floats = NDArray[np.float64]

_ONE_EVENT = "one trial is an event here, and events of one unit resemble each other."


@dataclass(frozen=True)
class TreatmentReport:
    """One treatment against control by one metric."""

    treatment: str
    effect: Effect  # stratified over epochs
    rel_effect_size: float | None  # as a share of control's mean; None where that is not above 0
    effect_aipw: Effect
    recommendation: Recommendation  # with the always-valid claim, where units are counted


@dataclass(frozen=True)
class MetricReport:
    """One metric: its groups, and every treatment against control. P(best) is over all variants, and so is what of the
    primary metric going on may still be worth; None before there is anything to tell.

    The means of `groups` are pooled over epochs, and mislead while weights move; those of `means` are as if all
    variants had met the same epochs: control's own, and control's with each treatment's effect added.
    """

    name: str
    kind: MetricKind
    direction: str
    primary: bool
    groups: tuple[Group, ...]
    means: dict[str, float | None]
    p_best: dict[str, float]
    remaining: ValueRemaining | None
    treatments: tuple[TreatmentReport, ...]


@dataclass(frozen=True)
class Report:
    """All that may be said of an experiment at `data_until` (milliseconds); `notes` say what may not be, and why."""

    experiment_id: str
    status: Status
    strategy: str
    unit: str
    control: str
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
        return _json().dump_python(self, mode="json")  # type: ignore[no-any-return]

    @property
    def primary(self) -> MetricReport:
        return next(metric for metric in self.metrics if metric.primary)


@cache
def _json() -> TypeAdapter[Report]:
    return TypeAdapter(Report)


def report(store: PartitionStore, current: Published, thresholds: DecisionThresholds | None = None) -> Report:
    """The report of an experiment; reading it is no look, only a recompute records one.

    Args:
        thresholds: in place of the experiment's. They are of the primary metric, in whose unit a margin is; other
            metrics keep the default ones.

    Raises:
        NotFound: the fold has not read the experiment's definition (yet).
    """
    experiment = current.experiment
    partition = store.load()
    state = store.load_experiments([experiment.id])[experiment.id]
    if state is None:
        raise NotFound(_nothing_yet(store, current))
    sums = split_sums(experiment, state)
    cells = gather_cells(experiment, sums)
    tests, remarks = _claims(current, cells)
    ratio, leaks = check_split(experiment, state) or (None, ())
    doubt = _doubt(ratio, leaks)
    bases = [
        _Basis.of(experiment, metric, cells[metric.name], _served(cells[metric.name], sums[metric.name], state))
        for metric in experiment.metrics
    ]
    bounds = thresholds or experiment.thresholds
    metrics = tuple(_metric(basis, tests, bounds if basis.metric.primary else None, doubt) for basis in bases)
    ab = _ab_test(experiment, bases, tests, doubt)
    return Report(
        experiment_id=experiment.id,
        status=current.status,
        strategy=experiment.strategy,
        unit=experiment.unit,
        control=experiment.control,
        data_until=partition.clock,
        epochs=len(state.epochs),
        metrics=metrics,
        sample_ratio=ratio,
        leaks=leaks,
        ab=ab,
        sentence=doubt or _sentence(experiment, metrics, ab),
        notes=(*remarks, *_notes(experiment, state)),
    )


def _nothing_yet(store: PartitionStore, current: Published) -> str:
    name = current.experiment.id
    if current.status is Status.DRAFT:
        return f"{name} is a draft and has counted nothing; run: trimtab experiment start {name}"
    return f"Partition {store.partition} has no statistics of {name!r} yet: is a worker running?"


def _claims(current: Published, cells: Mapping[str, Cells]) -> tuple[Tests, list[str]]:
    """The claims of the last recompute, and what is to be said of them.

    After the end nothing recomputes any more, and before the first nothing has: then the data as they stand are looked
    at here. That look is not kept; as data after the end do not change, all such looks are the same one.
    """
    recorded = parse_tests(current.claims)
    if current.experiment.unit != "unit" or (recorded and current.status not in FINAL):
        return recorded, []
    if not recorded and current.status not in FINAL:
        note = "No recompute has recorded a look yet: always-valid claims are of the data as they stand."
        return look_again(current.experiment, cells, recorded), [note]
    return look_again(current.experiment, cells, recorded), []


def _doubt(ratio: SampleRatio | None, leaks: tuple[Leak, ...]) -> str:
    """Why no comparison may be trusted; nothing where they may."""
    sentences = [ratio.sentence] if ratio is not None and ratio.alarm else []
    found = " ".join(sentences + [leak.sentence for leak in leaks])
    return f"Do not decide on these data. {found}" if found else ""


@dataclass(frozen=True)
class _Basis:
    """What all treatments of one metric share."""

    experiment: Experiment
    metric: Metric
    cells: Cells
    belief: Belief
    served: Mapping[str, Floats]

    @classmethod
    def of(cls, experiment: Experiment, metric: Metric, cells: Cells, served: Mapping[str, Floats]) -> _Basis:
        found = estimate(cells, metric.kind)
        belief = Belief.of(
            found.theta,
            found.information,
            found.precision,
            found.prior_sd,
            higher_is_better=metric.direction == "increase",
        )
        return cls(experiment, metric, cells, belief, served)

    @cached_property
    def p_best(self) -> dict[str, float]:
        return dict(zip(self.cells.variants, map(float, self.belief.p_best), strict=True))

    @property
    def remaining(self) -> ValueRemaining | None:
        """Of the primary metric, once every variant has been met and the data tell any of them apart."""
        telling = self.metric.primary and len(self.cells.variants) > 1 and all(self.cells.trials)
        return value_remaining(self.belief, self.cells, self.metric) if telling and self.belief.weight.any() else None

    @cached_property
    def base(self) -> float | None:
        """Control's mean, epochs weighed by all traffic; None without units."""
        control = self.experiment.control
        return typical_mean(self.cells, control) if self.trials(control) else None

    def trials(self, variant: str) -> int:
        return self.cells.trials[self.cells.variants.index(variant)]

    def enough(self, treatment: str) -> bool:
        """Whether the pair has its minimum evidence; what other variants have is no matter of theirs."""
        fewer = min(self.trials(self.experiment.control), self.trials(treatment))
        return fewer >= max(1, self.experiment.least_units)


def _served(cells: Cells, sums: Sums, state: ExperimentState) -> dict[str, Floats]:
    """The share of the units in `cells` each variant was served with, in the epochs of `sums`, in their order.

    Variants that are not among them took units away with them: shares are of what was left.
    """
    epochs = sorted({epoch for epoch, _ in sums})
    rows = [[state.epochs[epoch].parts.get(variant, 0) for variant in cells.variants] for epoch in epochs]
    parts = np.array(rows, float).reshape(len(epochs), len(cells.variants))
    shares = parts / np.maximum(parts.sum(axis=1, keepdims=True), 1)
    return dict(zip(cells.variants, shares.T, strict=True))


def _metric(basis: _Basis, tests: Tests, thresholds: DecisionThresholds | None, doubt: str) -> MetricReport:
    metric, cells, base = basis.metric, basis.cells, basis.base
    found = tuple(
        _treatment(basis, tests, treatment, thresholds, doubt) for treatment in treatments(basis.experiment)
    )
    means = {each.treatment: _sum(base, each.effect.effect_size) for each in found}
    return MetricReport(
        name=metric.name,
        kind=metric.kind,
        direction=metric.direction,
        primary=metric.primary,
        groups=tuple(
            Group(variant, n, total / n if n else None)
            for variant, n, total in zip(cells.variants, cells.trials, cells.totals, strict=True)
        ),
        means={basis.experiment.control: base, **means},
        p_best=basis.p_best,
        remaining=basis.remaining,
        treatments=found,
    )


def _treatment(
    basis: _Basis, tests: Tests, treatment: str, thresholds: DecisionThresholds | None, doubt: str
) -> TreatmentReport:
    metric, cells, control, base = basis.metric, basis.cells, basis.experiment.control, basis.base
    test = tests.get(metric.name, {}).get(treatment)
    claim = test.claim if test else None
    posterior = EffectPosterior.of(basis.belief, cells, metric, control, treatment)
    effect = stratified_effect(cells, metric, control, treatment)
    found = recommend(
        treatment,
        assess(posterior, metric.direction, thresholds),
        claim,
        metric.direction,
        thresholds=thresholds,
        enough=basis.enough(treatment) and (claim is None or claim.enough),
        p_best=basis.p_best[treatment],
    )
    return TreatmentReport(
        treatment=treatment,
        effect=effect,
        rel_effect_size=effect.effect_size / base if effect.effect_size is not None and base and base > 0 else None,
        effect_aipw=aipw_effect(cells, metric, control, treatment, basis.served),
        recommendation=replace(found, advice=Advice.CONTINUE, sentence=doubt) if doubt else found,
    )


def _sum(base: float | None, effect: float | None) -> float | None:
    return None if base is None or effect is None else base + effect


def _ab_test(experiment: Experiment, bases: list[_Basis], tests: Tests, doubt: str) -> ABResult | None:
    """The A/B test's own words, for experiments whose weights are fixed."""
    if experiment.strategy != "fixed" or len(experiment.active_ids) < 2:
        return None
    claims = {
        (metric, treatment): test.claim
        for metric, row in tests.items()
        for treatment, test in row.items()
        if test.claim is not None
    }
    measured = [Measured(basis.metric, basis.cells) for basis in bases]
    least = max(1, experiment.least_units)
    found = analyze_ab(measured, experiment.control, min_sample=least, claims=claims)
    if doubt:
        return replace(found, winner=None, recommendation=doubt)
    if found.enough and experiment.unit == "event":
        name = experiment.primary_metric.name
        return replace(found, recommendation=f"No significant difference in {name} can be claimed: {_ONE_EVENT}")
    return found


def _sentence(experiment: Experiment, metrics: tuple[MetricReport, ...], ab: ABResult | None) -> str:
    if ab is not None:
        return ab.recommendation
    primary = next(metric for metric in metrics if metric.primary)
    if not primary.treatments:
        return "There is one variant in service, and so nothing to compare."
    best = max(primary.treatments, key=lambda found: primary.p_best[found.treatment])
    return best.recommendation.sentence


def _notes(experiment: Experiment, state: ExperimentState) -> list[str]:
    notes = []
    if experiment.unit == "event":
        notes.append(f"There are no always-valid claims: {_ONE_EVENT}")
    retired = [variant for variant in experiment.variant_ids if variant not in experiment.active_ids]
    if retired:
        notes.append(f"Retired variants are left out: {', '.join(retired)}.")
    if state.counters["unstamped"]:
        notes.append(f"{state.counters['unstamped']:,} outcomes named no epoch; the split check leaves them out.")
    if capped := state.counters["capped"]:
        notes.append(f"{capped:,} outcomes were beyond their unit's cap for the hour and not counted.")
    clipped = {name: n for name, n in state.counters.items() if name.startswith("clipped:") and n}
    for name, n in sorted(clipped.items()):
        notes.append(f"{n:,} values of {name.removeprefix('clipped:')} were clipped to its cap.")
    return notes
