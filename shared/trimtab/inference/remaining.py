"""What going on may still be worth: how much better than the leader another variant may be (Scott 2010, 2015).

Scott's value remaining is (max_k θ_k − θ*)/θ*, θ* the leader's; an experiment is over once its 95 % point is small. Its
distribution needs no draws: nobody beats the leader by more than c with the probability that the leader, c better than
it is, would be the best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from trimtab.inference.checks import check_share
from trimtab.inference.posterior import EffectPosterior, fitted_mean
from trimtab.schema.experiment import Metric

if TYPE_CHECKING:
    from trimtab.engine import Belief, Cells

_CLOSE = 1e-4  # of the probability; P(best) itself is good to that
_STEPS = 40
_SURE = 1e-9


@dataclass(frozen=True)
class ValueRemaining:
    """With probability `level` no variant beats `leader` by more than `value`, in the metric's unit.

    `rel_value` is that as a share of the leader's mean; None where it is not above 0.
    """

    leader: str
    level: float
    value: float
    rel_value: float | None


def value_remaining(belief: Belief, cells: Cells, metric: Metric, *, level: float = .95) -> ValueRemaining:
    """The value remaining after `cells`; 0 where the leader is the best with probability `level` already.

    Raises:
        InvalidInput: a level outside (0, 1).
    """
    check_share("level", level)
    k = int(np.argmax(belief.p_best))
    leader = cells.variants[k]
    base = fitted_mean(cells, metric.kind, belief.theta, leader)
    ahead = _head_start(belief, k, level) * (1 if belief.higher_is_better else -1)
    value = abs(float(EffectPosterior(metric.kind, 0.0, 0.0, base, 0.0).difference(ahead))) if ahead else 0.0
    return ValueRemaining(leader, level, value, value / base if base > 0 else None)


def _head_start(belief: Belief, k: int, level: float) -> float:
    """The least c ≥ 0, on the model's scale, with which variant k would be best with probability `level`.

    By regula falsi (Illinois) on the normal quantiles of the probabilities, which are nearly straight in c.
    """
    sign = 1 if belief.higher_is_better else -1
    one = np.eye(len(belief.theta))[k] * sign
    target = float(ndtri(level))

    def short_by(c: float) -> float:
        p = float(replace(belief, theta=belief.theta + c * one).p_best[k])
        return float(ndtri(min(max(p, _SURE), 1 - _SURE))) - target

    low, below = 0.0, short_by(0.0)
    if below >= 0:
        return 0.0
    high = float(belief.effect_sds.max())
    while (above := short_by(high)) < 0:
        low, below, high = high, above, 2 * high
    for _ in range(_STEPS):
        c = (low * above - high * below) / (above - below)
        found = short_by(c)
        if abs(found) < _CLOSE:
            break
        if found < 0:
            low, below, above = c, found, above / 2
        else:
            high, above, below = c, found, below / 2
    return c
