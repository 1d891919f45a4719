"""What many runs come to: the few numbers that constraints are chosen by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from trimtab.simulation.loop import History


@dataclass(frozen=True)
class Summary:
    """Figures over the runs of one policy; "the best" is the variant that is best at the end.

    `regret` is what a whole run loses on average against always serving the best of the moment, in the metric's own
    unit (conversions, money), `regret_error` its standard error. `share_of_uniform` divides it by what equal shares
    lose; None where they lose nothing. `final_weight` is the mean share of the best after the last decision, `on_top`
    the share of runs in which nobody has more than it. `units_to_majority` is the median number of units until it has
    more than half, None if most runs never get there; `majority` is the share of runs that do.
    """

    policy: str
    runs: int
    regret: float
    regret_error: float
    share_of_uniform: float | None
    best: str
    final_weight: float
    on_top: float
    units_to_majority: int | None
    majority: float

    @classmethod
    def of(cls, history: History) -> Self:
        """The figures of a history."""
        world, after = history.world, history.parts_after
        whole, uniform = history.regret.sum(axis=1), float(world.uniform_regret.sum())
        best = int(world.best[-1])
        reached, steps = _first_majority(history, best)
        return cls(
            policy=history.policy,
            runs=history.runs,
            regret=float(whole.mean()),
            regret_error=float(whole.std(ddof=1) / np.sqrt(len(whole))) if len(whole) > 1 else 0.0,
            share_of_uniform=float(whole.mean()) / uniform if uniform > 0 else None,
            best=world.variants[best],
            final_weight=float(history.weights_after[:, best].mean()),
            on_top=float((after[:, best] == after.max(axis=1)).mean()),
            units_to_majority=steps * world.batch if steps is not None else None,
            majority=reached,
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON takes it."""
        return asdict(self)


def _first_majority(history: History, best: int) -> tuple[float, int | None]:
    """The share of runs in which the best variant ever has more than half, and the median step at which it first does.

    Runs that never get there count as later than any step, so that a median exists only if most do.
    """
    path = np.concatenate([history.weights[:, 1:, best], history.weights_after[:, None, best]], axis=1)
    has = path > .5
    first = np.where(has.any(axis=1), has.argmax(axis=1) + 1.0, np.inf)
    middle = float(np.quantile(first, .5, method="higher"))
    return float(has.any(axis=1).mean()), int(middle) if np.isfinite(middle) else None
