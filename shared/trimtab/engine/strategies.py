"""Strategies: what share each variant should have, before any guardrail. `strategy(name)` looks one up.

A strategy is a pure function of `Evidence` that returns K shares ≥ 0 adding up to 1. To add one, write the function and
enter it in `STRATEGIES`; guardrails, explanation and ledger need to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trimtab.engine.probability import Floats
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind


@dataclass(frozen=True)
class Evidence:
    """What a strategy may look at; arrays are (K,), in the order of variant ids.

    `successes` is the sum of the metric; `p_best_without(k)` gives P(best) among the variants other than k.
    """

    trials: Floats
    successes: Floats
    previous: Floats
    p_best: Floats
    p_best_without: Callable[[int], Floats]
    higher_is_better: bool = True
    kind: MetricKind = MetricKind.BINARY


class Strategy(Protocol):
    """From evidence to proposed shares (K,)."""

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
    shares: Floats = scores / scores.sum()
    return shares


STRATEGIES: dict[str, Strategy] = {
    "fixed": fixed,
    "heuristic": heuristic,
    "thompson": thompson,
    "top_two": top_two,
}


def strategy(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        InvalidInput: there is none; the message lists those there are.
    """
    if name not in STRATEGIES:
        raise InvalidInput(
            f"Unknown strategy {name!r}; choose one of {', '.join(sorted(STRATEGIES))}.", field="strategy", value=name
        )
    return STRATEGIES[name]
