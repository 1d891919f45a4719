"""Guardrail metrics: an always-valid one-sided test that a treatment is worse than control by more than a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trimtab.inference.checks import check_not_negative
from trimtab.inference.looks import Looks, looks
from trimtab.inference.mixture import one_sided_log_evalue
from trimtab.inference.pairs import Floats, Pair, pair_of
from trimtab.inference.sequential import SequentialPlan
from trimtab.schema.experiment import Metric, MetricKind

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
    allowed = limit + relative_limit * float(now.base / now.weight) if now.weight > 0 else limit
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
    """Looks (…, E) whose score is Σh_e(D_e − limit_e), harm positive, limit_e = limit + relative_limit·ȳ_e0.

    The boundary of "no harm" is ȳ_k = aȳ_0 + c, a = 1 ± relative_limit, c = ± limit, and V is the variance there. For
    a binary metric the rates come from both variants' successes under that constraint; without limits it is the
    hypergeometric V_e. Otherwise control's part of V grows by a².
    """
    sign = 1.0 if metric.direction == "decrease" else -1.0
    slope, shift = 1 + sign * relative_limit, sign * limit
    found = looks(pair, metric.kind)
    if metric.kind is MetricKind.BINARY:
        variance = np.cumsum(_boundary_variance(pair, slope, shift), axis=-1)
    else:
        variance = found.variance + max(0.0, slope**2 - 1) * found.base_variance
    score = sign * (found.score - (slope - 1) * found.base - shift * found.weight)
    return replace(found, score=score, variance=variance)


def _boundary_variance(pair: Pair, slope: float, shift: float) -> Floats:
    """(…, E) h_e²(p_kq_k/n_k + a²p_0q_0/n_0)·N/(N − 1) at p_k = ap_0 + c with n_0p_0 + n_kp_k = Y."""
    n_0, n_1, units = np.maximum(pair.n_0, 1), np.maximum(pair.n_1, 1), np.maximum(pair.units, 2)
    successes = pair.n_0 * pair.mean_0 + pair.n_1 * pair.mean_1
    p_0 = np.clip((successes - pair.n_1 * shift) / (n_0 + slope * n_1), 0, 1)
    p_1 = np.clip(slope * p_0 + shift, 0, 1)
    spread = p_1 * (1 - p_1) / n_1 + slope**2 * p_0 * (1 - p_0) / n_0
    variance: Floats = pair.harmonic**2 * spread * units / (units - 1)
    return variance


def _say(metric: Metric, treatment: str, worse: float, limit: float, stop: bool) -> str:
    if stop:
        return f"{treatment} harms {metric.name}: it is worse than control by {worse:.4g}, and {limit:.4g} is allowed."
    return f"{treatment} does not harm {metric.name} beyond what is allowed, as far as can be told."
