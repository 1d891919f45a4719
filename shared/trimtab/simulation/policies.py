"""Policies: from what was seen to the next weights, for many runs at once.

`Service` is what a running Trimtab does. The others are there to compare with: what everybody starts from (`Uniform`),
what most bandits do (`PooledThompson`), and how many of them keep a floor (`AdditiveFloor`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trimtab.engine import (
    Cells,
    Result,
    decide,
    estimate_inputs,
    probability_best_beta,
    probability_best_normal,
    retention,
)
from trimtab.engine.guardrails import Wait, entry_share, make_box
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.experiment import Experiment, MetricKind, Objective
from trimtab.simulation.outcomes import Floats
from trimtab.simulation.sums import Ints, Sums
from trimtab.simulation.worlds import World


@dataclass(frozen=True)
class Seen:
    """What a policy may look at before a step, for R runs.

    `sums` are (R, E, K): what has arrived, by the epoch that served it; epochs that a run has not reached are zeros.
    `parts` (R, K) are in force; `changed_at` (R,) is when they last changed by a decision, −1 for never, `started_at`
    (R, E) when each epoch began, −1 for not yet, and `now` the instant of this decision, all in milliseconds since the
    start. `present` (K,) says who can be served from this
    step on, `entered_later` (K,) which of those were added after the start.
    """

    world: World
    now: int
    sums: Sums
    parts: Ints
    changed_at: Ints
    started_at: Ints
    present: npt.NDArray[np.bool_]
    entered_later: npt.NDArray[np.bool_]

    @property
    def ids(self) -> tuple[str, ...]:
        """Variants present, sorted by id."""
        return tuple(self.world.variants[k] for k in np.flatnonzero(self.present))

    @property
    def runs(self) -> int:
        return len(self.parts)


@dataclass(frozen=True)
class Choice:
    """The next parts (R, K), each row adding up to 1,000,000; with them the decisions, where a policy explains."""

    parts: Ints
    results: tuple[Result, ...] = ()


class Policy(Protocol):
    """From what was seen to the next parts."""

    @property
    def name(self) -> str: ...

    def choose(self, seen: Seen, /) -> Choice: ...


@dataclass(frozen=True)
class Service:
    """What the running service does: the additive model over epochs, a strategy, every guardrail."""

    constraints: Constraints = field(default_factory=Constraints)
    strategy: str = "thompson"
    name: str = "service"
    objective: Objective = Objective.EARN
    half_life_seconds: float | None = None

    def choose(self, seen: Seen) -> Choice:
        experiment = self._experiment(seen)
        results = tuple(self._decide(seen, run, experiment) for run in range(seen.runs))
        parts = seen.parts.copy()
        ids = seen.ids
        parts[:, seen.present] = [[result.parts[variant] for variant in ids] for result in results]
        return Choice(parts, results)

    def _experiment(self, seen: Seen) -> Experiment:
        outcome = seen.world.outcome
        return Experiment.parse(
            {
                "id": "simulated",
                "variants": [{"id": variant} for variant in seen.ids],
                "metrics": [{"name": "outcome", "kind": outcome.kind, "scale": outcome.scale, "cap": outcome.cap}],
                "strategy": self.strategy,
                "objective": self.objective,
                "half_life_seconds": self.half_life_seconds,
                "constraints": self.constraints.model_dump(),
                "salt": "simulated",
            }
        )

    def _decide(self, seen: Seen, run: int, experiment: Experiment) -> Result:
        columns = np.flatnonzero(seen.present)
        names = np.array(seen.world.variants)
        changed_at = int(seen.changed_at[run])
        retained = None
        if self.half_life_seconds is not None:
            started = {epoch: int(at) for epoch, at in enumerate(seen.started_at[run]) if at >= 0}
            retained = retention(started, seen.now, self.half_life_seconds)
        return decide(
            estimate_inputs(
                cells_of(seen.world, seen.sums[run], seen.present),
                experiment,
                previous={str(names[k]): int(seen.parts[run, k]) for k in columns},
                now=seen.now,
                changed_at=None if changed_at < 0 else changed_at,
                entered_later=[str(name) for name in names[seen.entered_later]],
                retained=retained,
            )
        )


@dataclass(frozen=True)
class Uniform:
    """Everybody present gets the same share for ever: an A/B test with equal groups."""

    name: str = "uniform"

    def choose(self, seen: Seen) -> Choice:
        return Choice(even_parts(seen.present, seen.runs))


@dataclass(frozen=True)
class PooledThompson:
    """Batched Thompson sampling with exact posteriors of counts added up over all epochs, inside the same guardrails.

    Weights are P(best) under independent Beta(1 + successes, 1 + failures) posteriors; for other kinds of metrics under
    normal ones. As long as nothing drifts this is as good as a batched policy gets, and the yardstick of the service.
    Once base rates drift while weights move it is the wrong way: its counts compare good times with bad ones (Simpson).
    """

    constraints: Constraints = field(default_factory=Constraints)
    name: str = "pooled"

    def choose(self, seen: Seen) -> Choice:
        return _guard(_pooled_p_best(seen), seen, self.constraints)


@dataclass(frozen=True)
class AdditiveFloor:
    """Pooled Thompson whose floor is mixed in, floor + (1 − K·floor)·P(best), instead of projected onto."""

    constraints: Constraints = field(default_factory=Constraints)
    name: str = "additive_floor"

    def choose(self, seen: Seen) -> Choice:
        floors = np.array([self.constraints.floor(variant) for variant in seen.ids])
        return _guard(floors + (1 - floors.sum()) * _pooled_p_best(seen), seen, self.constraints)


BASELINES: dict[str, Callable[[Constraints], Policy]] = {
    "additive_floor": AdditiveFloor,
    "pooled": PooledThompson,
    "uniform": lambda _: Uniform(),
}


def even_parts(present: npt.NDArray[np.bool_], runs: int) -> Ints:
    """(R, K) equal parts for those present; what does not divide goes to the first ones."""
    share, rest = divmod(PARTS, int(present.sum()))
    parts = np.where(present, share + (np.cumsum(present) <= rest), 0)
    return np.tile(parts.astype(np.int64), (runs, 1))


def cells_of(world: World, sums: Sums, present: npt.NDArray[np.bool_]) -> Cells:
    """The engine's cells from one run's sums (E, K); epochs in which nothing has arrived yet are left out."""
    rows = np.flatnonzero(sums.n.sum(axis=1) > 0)
    place = np.ix_(rows, np.flatnonzero(present))
    n, total, total_sq = (array[place].astype(object) for array in (sums.n, sums.total, sums.total_sq))
    ids = tuple(world.variants[k] for k in np.flatnonzero(present))
    return Cells(ids, n, total, total_sq, world.outcome.scale, tuple(rows.tolist()))


def _pooled_p_best(seen: Seen) -> Floats:
    """(R, present) P(best) from counts added up over epochs."""
    pooled = seen.sums.over(1)[:, seen.present]
    if seen.world.outcome.kind is MetricKind.BINARY:
        return probability_best_beta(1 + pooled.total, 1 + pooled.n - pooled.total)
    n, total, squares = (array.astype(float) for array in (pooled.n, pooled.total, pooled.total_sq))
    units = np.maximum(n, 1)
    grand = total.sum(axis=1, keepdims=True) / np.maximum(n.sum(axis=1, keepdims=True), 1)
    # A variance needs two units; until every variant has some, the common one speaks for all.
    variance = np.maximum(squares.sum(axis=1, keepdims=True) / units.sum(axis=1, keepdims=True) - grand**2, 1e-12)
    mean = np.where(n > 0, total / units, grand)
    return probability_best_normal(mean, np.sqrt(variance / units))


def _guard(proposal: Floats, seen: Seen, limits: Constraints) -> Choice:
    """The service's holds and its projection, applied to somebody else's proposal (R, present)."""
    trials = seen.sums.n.sum(axis=1)[:, seen.present]
    later = seen.entered_later[seen.present]
    lacking = trials < limits.min_trials
    resting = (seen.changed_at >= 0) & (seen.now - seen.changed_at < limits.cooldown_seconds * 1000)
    moves = ~(lacking[:, ~later].any(axis=1) | resting)
    parts, columns, ids = seen.parts.copy(), np.flatnonzero(seen.present), seen.ids
    for run in np.flatnonzero(moves):
        before = parts[run, columns].tolist()
        waits = {
            ids[k]: Wait(before[k] or round(PARTS * entry_share(ids[k], len(ids), limits)), limits.min_trials)
            for k in np.flatnonzero(lacking[run] & later)
        }
        box = make_box(ids, before, limits, awaiting=waits)
        parts[run, columns] = box.nearest(proposal[run].tolist())
    return Choice(parts)
