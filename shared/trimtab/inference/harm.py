"""Guardrail metrics: an always-valid one-sided test that a treatment is worse than control by more than a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trimtab.inference.checks import check_not_negative
from trimtab.inference.looks import Looks, looks
from trimtab.inference.mixture import one_sided_log_evalue
from trimtab.inference.pairs import Pair, pair_of
from trimtab.inference.sequential import SequentialPlan
from trimtab.schema.experiment import Metric

if TYPE_CHECKING:
    from trimtab.engine import Cells

HARM_ALPHA = .01
"""Chance, over a whole experiment, that a harmless variant is stopped by any of its guardrails."""
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Harm:
    """Evidence that `treatment` is worse than control by more than `limit`; it stops at `evalue` ≥ `threshold`.

    `effect_size` is how much worse it looks, in the metric's unit, positive being harm; None without a comparison.
    """

    treatment: str
    metric: str
    evalue: float
    threshold: float
    stop: bool
    limit: float
    effect_size: float | None
    sentence: str


def harm_test(
    cells: Cells,
    metric: Metric,
    control: str,
    treatment: str,
    *,
    plan: SequentialPlan | None,
    relative_limit: float = 0.0,
) -> Harm:
    """The test as it stands; it may be asked at every recompute, and a stop at any of them is one for good.

    Args:
        plan: of `plan_test(…, alpha=HARM_ALPHA, n_comparisons=G·(K − 1))`, G guardrail metrics; None: no evidence yet.
        relative_limit: share of control's mean that is allowed beside `metric.harm_limit`, which is absolute.

    Raises:
        InvalidInput: an unknown variant, sums no such metric has, or a limit below 0.
    """
    limit = metric.harm_limit or 0.0
    check_not_negative("relative_limit", relative_limit)
    now = harm_looks(pair_of(cells, metric.kind, control, treatment), metric, limit, relative_limit).last
    allowed = limit + relative_limit * float(abs(now.base) / now.weight) if now.weight > 0 else limit
    worse = float(now.score / now.weight) + allowed if now.weight > 0 else None
    if plan is None or worse is None or not now.evidence >= 1:
        sentence = f"{metric.name} cannot be judged for {treatment} yet."
        return Harm(treatment, metric.name, 1.0, 1 / HARM_ALPHA, False, allowed, worse, sentence)
    log_e = float(one_sided_log_evalue(now.score, now.variance, plan.rho))
    stop = log_e >= -math.log(plan.alpha)
    evalue = math.exp(min(log_e, _LARGEST_LOG))
    sentence = _say(metric, treatment, worse, allowed, stop)
    return Harm(treatment, metric.name, evalue, 1 / plan.alpha, stop, allowed, worse, sentence)


def harm_looks(pair: Pair, metric: Metric, limit: float, relative_limit: float = 0.0) -> Looks:
    """Looks (…, E) whose score is Σh_e(D_e − limit_e), harm positive, limit_e = limit + relative_limit·|ȳ_e0|.

    V is the larger of the pooled one and the variants' own, for every kind: at the limit the two differ, and then it is
    the smaller variant's own variance that counts. A control blown up by 1 + relative_limit is that much noisier.
    """
    found = looks(pair, metric.kind)
    sign = 1.0 if metric.direction == "decrease" else -1.0
    noisier = ((1 + relative_limit) ** 2 - 1) * found.base_variance
    return Looks(
        score=sign * found.score - limit * found.weight - relative_limit * np.abs(found.base),
        variance=np.maximum(found.variance, found.own_variance) + noisier,
        weight=found.weight,
        base=found.base,
        own_variance=found.own_variance + noisier,
        base_variance=found.base_variance + noisier,
        evidence=found.evidence,
    )


def _say(metric: Metric, treatment: str, worse: float, limit: float, stop: bool) -> str:
    if stop:
        return f"{treatment} harms {metric.name}: it is worse than control by {worse:.4g}, and {limit:.4g} is allowed."
    return f"{treatment} does not harm {metric.name} beyond what is allowed, as far as can be told."
