"""From cells and the experiment's circumstances to the inputs of a decision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from trimtab.engine.cells import Cells
from trimtab.engine.estimation import estimate, silent
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
    retained: Mapping[int, float] | None = None,
) -> Inputs:
    """The sufficient inputs of a decision, with the estimator already run.

    Args:
        cells: sums of the primary metric, over the experiment's variants.
        previous: parts in force, adding up to 1,000,000.
        now, changed_at: milliseconds since the Unix epoch; `changed_at` None if weights never changed by a decision.
        halted: variants at 0 until a person resumes them.
        entered_later: variants added after the start.
        facts: holds found outside the engine.
        retained: how much of each epoch's evidence still counts, see `forgetting`; None: nothing is forgotten. Only the
            estimate fades, and what strategies see: the least number of trials is counted in full.

    Returns:
        Inputs with variants sorted by id. Sums that no data can have become an `invalid_input` fact, not an exception:
        one experiment's bad sums must not stop a worker.
    """
    metric = experiment.primary_metric
    found = list(facts)
    fade = None if retained is None else np.array([retained[epoch] for epoch in cells.epochs], float)
    try:
        effects = estimate(cells, metric.kind, fade)
    except InvalidInput as problem:
        effects = silent(len(cells.variants))
        found.append(invalid_input(str(problem)))
    later = tuple(sorted(entered_later))
    return Inputs(
        variants=cells.variants,
        control=experiment.control,
        strategy=experiment.strategy,
        objective=experiment.objective,
        half_life_seconds=experiment.half_life_seconds,
        direction=metric.direction,
        kind=metric.kind,
        theta=effects.theta.tolist(),
        information=effects.information.tolist(),
        precision=effects.precision.tolist(),
        prior_sd=effects.prior_sd,
        trials=cells.trials,
        successes=cells.totals,
        faded_trials=None if fade is None else (fade @ cells.counts).tolist(),
        faded_successes=None if fade is None else (fade @ cells.sums).tolist(),
        previous=dict(previous),
        constraints=experiment.constraints,
        halted=tuple(sorted(halted)),
        entered_later=later,
        entry_weights={v.id: v.entry_weight for v in experiment.variants if v.entry_weight and v.id in later},
        now=now,
        changed_at=changed_at,
        facts=tuple(found),
    )
