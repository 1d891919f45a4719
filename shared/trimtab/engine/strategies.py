"""Strategies: what share each variant should have, before any guardrail. `strategy(name)` looks one up.

A strategy is a pure function of `Evidence` that returns K shares ≥ 0, in the order of the evidence; they are scaled to
add up to 1. Guardrails, explanation and ledger need to know nothing of it. To add one of your own, give it a name with
a dot and let the environment of the `decide` workers know it, as an entry point of an installed package,

::

    [project.entry-points."trimtab.strategies"]
    "acme.softmax" = "acme.bandits:softmax"

or, where you call `Engine` or `decide` yourself, with `register_strategy("acme.softmax", softmax)`. An experiment with
`"strategy": "acme.softmax"` then uses it; where no worker knows it, its weights hold and say so. A strategy that draws
at random, or asks the clock, could not be replayed from the ledger: let it depend on its evidence alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import CUSTOM_STRATEGY, MetricKind

Places = npt.NDArray[np.intp]
"""Which variants, by their place in the order of ids."""

ENTRY_POINTS = "trimtab.strategies"


@dataclass(frozen=True)
class Evidence:
    """What a strategy may look at: of K variants whose shares are to be found; arrays are (K,), in the order of ids.

    `trials` and `successes`, the sum of the metric, are what they amount to after forgetting; `previous` are shares, or
    parts; `p_best_without(k)` (K,) gives P(best) among the variants other than k, 0 for k.
    """

    trials: Floats
    successes: Floats
    previous: Floats
    p_best: Floats
    p_best_without: Callable[[int], Floats]
    higher_is_better: bool = True
    kind: MetricKind = MetricKind.BINARY


class Strategy(Protocol):
    """From evidence to proposed shares (K,), finite and ≥ 0.

    Raises:
        InvalidInput: this evidence has no answer; the weights hold, and the message says why.
    """

    def __call__(self, evidence: Evidence, /) -> Floats: ...


def thompson(evidence: Evidence) -> Floats:
    """Weights = P(best): what Thompson sampling serves in expectation, without its draws."""
    return _normalised(evidence.p_best)


def top_two(evidence: Evidence) -> Floats:
    """½p_k + ½ Σ_{j≠k} p_j·P(k best among variants ≠ j): half the traffic to the leader's challengers (Russo 2016).

    Finds the best sooner than `thompson`, and earns less meanwhile.
    """
    p = _normalised(evidence.p_best)
    if len(p) == 1:
        return p
    challenged = sum((p[j] * evidence.p_best_without(j) for j in range(len(p)) if p[j] > 0), np.zeros(len(p)))
    return _normalised((p + challenged) / 2)


def heuristic(evidence: Evidence) -> Floats:
    """Shares proportional to the smoothed rate (s + 1)/(n + 2); of failures, where lower is better.

    Counts and revenue, which have no failures, are smoothed by one trial at the common mean, and inverted where lower
    is better. Totals over epochs are compared as they are: under drifting base rates `thompson` is the one to use.

    Raises:
        InvalidInput: a continuous metric or a negative total, of which no share can be taken.
    """
    n, total = evidence.trials, evidence.successes
    if evidence.kind is MetricKind.CONTINUOUS or (total < 0).any():
        raise InvalidInput(
            "The heuristic strategy takes shares of rates, which must not be negative; "
            "choose strategy thompson for this metric.",
            field="strategy",
            value="heuristic",
        )
    if evidence.kind is MetricKind.BINARY:
        better = total if evidence.higher_is_better else n - total
        score = (better + 1) / (n + 2)
    else:
        common = total.sum() / max(float(n.sum()), 1.0) or 1.0
        mean = (total + common) / (n + 1)
        score = mean if evidence.higher_is_better else 1 / mean
    return _normalised(score)


def fixed(evidence: Evidence) -> Floats:
    """The shares there are: an A/B test. Guardrails still act."""
    return _normalised(evidence.previous)


def _normalised(scores: Floats) -> Floats:
    total = scores.sum()
    shares: Floats = scores / total if total > 0 else np.full(len(scores), 1 / len(scores))
    return shares


STRATEGIES: dict[str, Strategy] = {
    "fixed": fixed,
    "heuristic": heuristic,
    "thompson": thompson,
    "top_two": top_two,
}


def register_strategy(name: str, strategy: Strategy) -> None:
    """Make `strategy` known in this process as `name`, which has a dot, such as `acme.softmax`.

    Raises:
        InvalidInput: a name without a dot, which would hide one of ours or one to come, or one that is taken.
    """
    if not re.fullmatch(CUSTOM_STRATEGY, name):
        raise InvalidInput(
            f"A strategy of your own cannot be called {name!r}: give it a name with a dot, such as acme.softmax.",
            field="strategy",
            value=name,
        )
    if STRATEGIES.setdefault(name, strategy) is not strategy:
        raise InvalidInput(f"There is another strategy called {name!r} already.", field="strategy", value=name)


def strategy(name: str) -> Strategy:
    """The strategy called `name`: ours, registered, or an entry point of an installed package.

    Raises:
        InvalidInput: there is none; the message lists those there are.
    """
    found = (STRATEGIES.get(name) or _installed(name)) if isinstance(name, str) else None
    if found is None:
        raise InvalidInput(
            f"Unknown strategy {name!r}; choose one of {', '.join(sorted(STRATEGIES))}.", field="strategy", value=name
        )
    return found


@cache
def _installed(name: str) -> Strategy | None:
    """The entry point of this name, if one is installed; looked up once in a process."""
    for point in entry_points(group=ENTRY_POINTS, name=name):
        found: Strategy = point.load()
        return found
    return None
