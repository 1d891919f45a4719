"""The posterior where all that is known came through one level: a single epoch, or epochs of the same shares.

Then L = diag(v) − vvᵀ/V with V = Σv, and Σ = (L + I/τ²)⁻¹ has a closed form, with a_k = v_k + 1/τ² (Sherman–Morrison):

    Σ = diag(1/a) + uuᵀ,     u_k = s·v_k/a_k,     1/s² = Σ v_k/(τ²a_k)

one factor, and no inverse. Seen from the precision-weighted mean of all effects, which no contrast minds, it loads
f_k = s(v_k/a_k − V/Σa). Plain Python: for a handful of variants numpy's calls would cost more than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import sub

_SAME = 1e-9  # relative; two ways of computing one level's L differ by 1e-15


def one_level(
    information: Sequence[Sequence[float]], weight: Sequence[float], ridge: float
) -> tuple[list[float], list[float]] | None:
    """Each variant's own sd 1/√a (K,) and its load f·√a in units of that (K,); None if there was more than one level.

    Args:
        information: L (K, K).
        weight: v (K,), the diagonal that L would have if the levels were known.
        ridge: 1/τ².
    """
    total = sum(weight)
    if not _is_one_level(information, weight, total):
        return None
    given = [v + ridge for v in weight]
    own = [1 / math.sqrt(a) for a in given]
    slack = sum(v / a for v, a in zip(weight, given, strict=True)) * ridge
    if slack <= 0:
        return own, [0.0] * len(own)
    common = total / sum(given)
    return own, [(v / a - common) * math.sqrt(a / slack) for v, a in zip(weight, given, strict=True)]


def contrast_sds(own: Sequence[float], load: Sequence[float]) -> list[float]:
    """(K,) standard deviations of the effects against their average, from what `one_level` gives."""
    size = len(own)
    common = [f * sd for f, sd in zip(load, own, strict=True)]
    middle, noise = sum(common) / size, sum(sd * sd for sd in own) / size**2
    variances = [sd * sd * (1 - 2 / size) + noise + (f - middle) ** 2 for sd, f in zip(own, common, strict=True)]
    return [math.sqrt(max(0.0, variance)) for variance in variances]


def _is_one_level(information: Sequence[Sequence[float]], weight: Sequence[float], total: float) -> bool:
    """Whether L is diag(v) − vvᵀ/V; with more levels the first row already says no."""
    for k, (row, v) in enumerate(zip(information, weight, strict=True)):
        share = v / total if total > 0 else 0.0
        expected = [-share * other for other in weight]
        expected[k] += v
        if max(map(abs, map(sub, row, expected))) > _SAME * v:
            return False
    return True
