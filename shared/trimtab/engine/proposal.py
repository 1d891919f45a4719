"""The proposal: what share each variant should have, before any guardrail.

Only a variant that may move has a share to be found. One that is pinned, halted, or waiting for its evidence has a
share that is settled; the others share what it leaves, by evidence among themselves. (Proposing P(best) of all, and
leaving it to the projection to spread over the others what a settled one wanted, takes as much from a clear leader as
it gives to a hopeless variant.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimtab.engine.probability import Floats
from trimtab.engine.strategies import Evidence, Places, strategy, top_two
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind, Objective


@dataclass(frozen=True, slots=True)
class Known:
    """The evidence on all variants, (K,) in the order of ids; `p_best_among` gives P(best) among those at some places.

    What the fields mean stands at `Evidence`.
    """

    trials: Floats
    successes: Floats
    previous: Floats
    p_best_among: Callable[[Places], Floats]
    higher_is_better: bool = True
    kind: MetricKind = MetricKind.BINARY

    def on(self, places: Places) -> Evidence:
        """The evidence on the variants at `places`, as if there were no others."""
        return Evidence(
            trials=self.trials[places],
            successes=self.successes[places],
            previous=self.previous[places],
            p_best=self.p_best_among(places),
            p_best_without=lambda k: np.insert(self.p_best_among(np.delete(places, k)), k, 0.0),
            higher_is_better=self.higher_is_better,
            kind=self.kind,
        )


def propose(name: str, objective: Objective, known: Known, settled: Mapping[int, float]) -> Floats:
    """Shares (K,) that add up to 1.

    Args:
        name: of the strategy.
        objective: what traffic is for, see `shares_for`.
        known: the evidence.
        settled: shares that are not the evidence's to decide, by place.

    Raises:
        InvalidInput: there is no such strategy, it cannot use this evidence, or what it returned are no shares.
    """
    size = len(known.trials)
    if not settled:
        return shares_for(name, objective, known.on(np.arange(size)))
    moving = np.array([k for k in range(size) if k not in settled], np.intp)
    shares = np.zeros(size)
    for k, share in settled.items():
        shares[k] = share
    if len(moving):
        left = max(0.0, 1.0 - math.fsum(settled.values()))
        shares[moving] = left * shares_for(name, objective, known.on(moving))
    total: float = shares.sum()
    return shares / total if total > 0 else np.full(size, 1 / size)


def shares_for(name: str, objective: Objective, evidence: Evidence) -> Floats:
    """Shares (K,) that add up to 1, as a strategy proposes them for an objective.

    - `earn`: what the strategy itself proposes.
    - `find-best`: what top-two sampling does, whatever the strategy. Who is best is a question about P(best) alone, and
      sampling it in proportion leaves the best one's rivals ever less traffic, so that certainty comes slowly. A leader
      that takes one half leaves them the other; then the chance of picking the wrong one falls exponentially, at no
      less than half of the best rate that any allocation can have (Russo 2016, "Simple Bayesian algorithms for best-arm
      identification").
    - `mixed`: half of each. With `thompson` that is top-two sampling whose leader takes three quarters.

    With strategy `top_two` all three are the same.

    Raises:
        InvalidInput: see `propose`.
    """
    if objective is Objective.FIND_BEST:
        return top_two(evidence)
    own = _checked(name, strategy(name)(evidence), len(evidence.trials))
    return own if objective is Objective.EARN else (own + top_two(evidence)) / 2


def check_objective(name: str, objective: Objective) -> None:
    """Make sure that a strategy can serve an objective.

    Raises:
        InvalidInput: it keeps weights as they are, and the objective would move them.
    """
    if name == "fixed" and objective is not Objective.EARN:
        raise InvalidInput(
            f"Objective {objective} moves traffic, which strategy fixed never does; choose another of the two.",
            field="objective",
            value=str(objective),
        )


def _checked(name: str, shares: Any, size: int) -> Floats:
    """What a strategy returned, scaled to add up to 1: others' code must not bring NaN into weights."""
    array = np.asarray(shares, float)
    total = float(array.sum())
    if array.shape != (size,) or not 0 < total < math.inf or array.min() < 0:
        raise InvalidInput(
            f"Strategy {name!r} returned {array.tolist()!r}; expected {size} finite shares ≥ 0, not all of them 0.",
            field="strategy",
            value=name,
        )
    return array / total
