"""Forgetting: how much the outcomes of each epoch still count, for allocation only.

An outcome of age a counts 2^(−a / half-life). Statistics are kept per epoch, so the outcomes of one all take the mean
of that over the time in which it was in force, as if they had come evenly:

    γ_e = 1/(t₂ − t₁) ∫ 2^(−(now − t)/h) dt  over  t₁ … t₂                                      (STATISTICS §2)

For an epoch that is short against the half-life this is 2^(−age/h). For one that stays in force for long, because
weights are held or at their limits, the age of its start would let outcomes of today fade with those of last month, and
the age of its end would never let any fade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise


def retention(started_at: Mapping[int, int], clock: int, half_life_seconds: float) -> dict[int, float]:
    """γ of each epoch, in (0, 1].

    Args:
        started_at: when each epoch began; an epoch ends where the next one begins, the last one is in force.
        clock: now, on the log's clock, so that nothing fades while no data come; milliseconds as `started_at`.
        half_life_seconds: the age at which an outcome counts half.
    """
    order = sorted(started_at, key=lambda epoch: (started_at[epoch], epoch))
    if not order:
        return {}
    borders = [min(started_at[epoch], clock) for epoch in order] + [clock]
    ages = [(clock - instant) / (1000 * half_life_seconds) for instant in borders]
    return {epoch: _mean(oldest, youngest) for epoch, (oldest, youngest) in zip(order, pairwise(ages), strict=True)}


def _mean(oldest: float, youngest: float) -> float:
    """The mean of 2^(−age) over ages from `youngest` to `oldest`, in half-lives."""
    span = (oldest - youngest) * math.log(2)
    return float(2.0**-youngest) * (-math.expm1(-span) / span if span > 0 else 1.0)
