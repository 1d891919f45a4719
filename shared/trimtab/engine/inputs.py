"""From cells and the experiment's circumstances to the inputs of a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trimtab.engine.cells import Cells
from trimtab.engine.estimation import Estimate, estimate, silent
from trimtab.engine.holds import invalid_input
from trimtab.errors import InvalidInput
from trimtab.schema.decision import Inputs, Reason
from trimtab.schema.experiment import Experiment


def estimate_inputs(
    cells: Cells,
    experiment: Experiment,
    *,
    previous: Mapping[str, int],
    now: int,
    changed_at: int | None = None,
    halted: Iterable[str] = (),
    entered_later: Iterable[str] = (),
    facts: Iterable[Reason] = (),
) -> Inputs:
    """The sufficient inputs of a decision, with the estimator already run.

    Args:
        cells: sums of the primary metric, over the experiment's variants.
        previous: parts in force, adding up to 1,000,000.
        now, changed_at: milliseconds since the Unix epoch; `changed_at` None if weights never changed by a decision.
        halted: variants at 0 until a person resumes them.
        entered_later: variants added after the start.
        facts: holds found outside the engine.

    Returns:
        Inputs with variants sorted by id. Sums that no data can have become an `invalid_input` fact, not an exception:
        one experiment's bad sums must not stop a worker.
    """
    metric = experiment.primary_metric
    found = list(facts)
    try:
        effects = estimate(cells, metric.kind)
    except InvalidInput as problem:
        effects = silent(len(cells.variants))
        found.append(invalid_input(str(problem)))
    return _inputs(cells, effects, experiment, previous, now, changed_at, halted, entered_later, found)


def _inputs(
    cells: Cells,
    effects: Estimate,
    experiment: Experiment,
    previous: Mapping[str, int],
    now: int,
    changed_at: int | None,
    halted: Iterable[str],
    entered_later: Iterable[str],
    facts: Iterable[Reason],
) -> Inputs:
    metric = experiment.primary_metric
    return Inputs(
        variants=cells.variants,
        control=experiment.control,
        strategy=experiment.strategy,
        direction=metric.direction,
        kind=metric.kind,
        theta=effects.theta.tolist(),
        information=effects.information.tolist(),
        precision=effects.precision.tolist(),
        prior_sd=effects.prior_sd,
        trials=cells.trials,
        successes=cells.totals,
        previous=dict(previous),
        constraints=experiment.constraints,
        halted=tuple(sorted(halted)),
        entered_later=tuple(sorted(entered_later)),
        now=now,
        changed_at=changed_at,
        facts=tuple(facts),
    )
