"""What statistics say beside the weights: sequential claims, harm, and whether the split can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from trimtab.engine import Cells
from trimtab.fold import ExperimentState
from trimtab.fold.limits import LONGEST_RUN, MOST_REFUSED, WINDOW
from trimtab.inference import (
    HARM_ALPHA,
    Claim,
    Harm,
    Leak,
    SampleRatio,
    SequentialPlan,
    find_leaks,
    harm_test,
    look,
    plan_test,
    sample_ratio,
)
from trimtab.schema.decision import HoldCode, Reason
from trimtab.schema.experiment import Experiment, Metric


@dataclass(frozen=True)
class Test:
    """One sequential test: its plan, frozen once the data first suffice, and the claim after the last look."""

    plan: SequentialPlan | None = None
    claim: Claim | None = None


Tests = dict[str, dict[str, Test]]
"""metric → treatment → test."""

Sums = dict[tuple[int, str], tuple[int, int, int]]
"""(epoch, variant) → n, Σ and Σ² of one metric, scaled."""

_json: TypeAdapter[Tests] = TypeAdapter(Tests)


def parse_tests(text: str) -> Tests:
    """The tests that were recorded with the last decision."""
    return _json.validate_json(text) if text else {}


def tests_json(tests: Tests) -> str:
    return _json.dump_json(tests).decode()


def split_sums(experiment: Experiment, state: ExperimentState | None) -> dict[str, Sums]:
    """Metric → sums of the variants in service; all of the state is walked through once, not once a metric."""
    found: dict[str, Sums] = {metric.name: {} for metric in experiment.metrics}
    active = set(experiment.active_ids)
    for (epoch, variant, metric), cell in state.cells.items() if state else ():
        if variant in active:
            found[metric][epoch, variant] = cell.n, cell.total, cell.total_sq
    return found


def gather_cells(experiment: Experiment, sums: Mapping[str, Sums]) -> dict[str, Cells]:
    """Metric → its exact sums, epoch by epoch."""
    return {
        metric.name: Cells.gather(experiment.active_ids, sums[metric.name], scale=metric.scale)
        for metric in experiment.metrics
    }


def treatments(experiment: Experiment) -> list[str]:
    return [variant for variant in experiment.active_ids if variant != experiment.control]


def look_again(experiment: Experiment, cells: Mapping[str, Cells], before: Tests) -> Tests:
    """Every metric of every treatment after one more look at `cells`; empty where events, not units, are counted."""
    if experiment.unit != "unit":
        return {}
    return {
        metric.name: {
            treatment: _look(
                experiment,
                metric,
                cells[metric.name],
                treatment,
                before.get(metric.name, {}).get(treatment, Test()),
            )
            for treatment in treatments(experiment)
        }
        for metric in experiment.metrics
    }


def _look(experiment: Experiment, metric: Metric, cells: Cells, treatment: str, before: Test) -> Test:
    control = experiment.control
    plan = before.plan or plan_test(
        cells,
        metric,
        control,
        treatment,
        n_comparisons=max(1, len(treatments(experiment))),
        planned_units=_planned(experiment),
    )
    return Test(plan, look(cells, metric, control, treatment, plan=plan, before=before.claim))


def find_harm(experiment: Experiment, cells: Mapping[str, Cells]) -> Iterator[Harm]:
    """Treatments that are worse than control by more than a guardrail metric's limit, beyond doubt."""
    guardrails = [metric for metric in experiment.metrics if metric.harm_limit is not None]
    comparisons = len(guardrails) * len(treatments(experiment))
    if experiment.unit != "unit" or not comparisons:
        return
    for metric in guardrails:
        found = cells[metric.name]
        for treatment in treatments(experiment):
            plan = plan_test(
                found,
                metric,
                experiment.control,
                treatment,
                alpha=HARM_ALPHA,
                n_comparisons=comparisons,
                planned_units=_planned(experiment),
            )
            harm = harm_test(found, metric, experiment.control, treatment, plan=plan)
            if harm.stop:
                yield harm


def _planned(experiment: Experiment) -> int | None:
    """Planned units of one pair."""
    if experiment.planned_units is None:
        return None
    return max(1, 2 * experiment.planned_units // len(experiment.active_ids))


def check_split(experiment: Experiment, state: ExperimentState) -> tuple[SampleRatio, tuple[Leak, ...]] | None:
    """Whether units split as the weights say; None where events, not units, are counted.

    Only live events that named their epoch are asked: no weights of ours made the split of the others.
    """
    if experiment.unit != "unit":
        return None
    served = {epoch: record.parts for epoch, record in state.epochs.items()}
    units = {key: n for key, n in state.stamped.items() if key[0] in served}
    return sample_ratio(units, served), find_leaks(units, served)


def distrust(experiment: Experiment, state: ExperimentState | None) -> Iterator[Reason]:
    """Holds because units are not split as the weights say, or because too many of their outcomes were refused."""
    if state and state.refusals.excessive:
        yield _too_many_dead(state)
    found = check_split(experiment, state) if state else None
    if found is None:
        return
    ratio, leaks = found
    if ratio.alarm:
        numbers = {"evalue": ratio.evalue, **{f"observed_{v}": float(n) for v, n in ratio.observed.items()}}
        yield Reason(code=HoldCode.SAMPLE_RATIO, sentence=ratio.sentence, numbers=numbers)
    for leak in leaks:
        numbers = {"units": float(leak.n_units), "limit": leak.limit}
        yield Reason(code=HoldCode.LEAK, sentence=leak.sentence, numbers=numbers)


def _too_many_dead(state: ExperimentState) -> Reason:
    refusals = state.refusals
    lately = f"More than {MOST_REFUSED} of the last {WINDOW:,} events were refused"
    at_once = f"{LONGEST_RUN} events in a row were refused"
    dead = {name.partition(":")[2]: n for name, n in state.counters.items() if name.startswith("dead:")}
    mostly = f", mostly as {max(dead, key=lambda code: (dead[code], code))}" if dead else ""
    return Reason(
        code=HoldCode.DEAD_LETTERS,
        sentence=f"{at_once if refusals.burst else lately}{mostly}; weights move again after {WINDOW:,} better ones, "
        "or once a person holds and resumes.",
        numbers={"events": float(refusals.seen), "refused_in_a_row": float(refusals.run)}
        | {f"dead_{code}": float(n) for code, n in sorted(dead.items())},
    )
