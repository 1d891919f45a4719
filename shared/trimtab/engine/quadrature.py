"""Where to look: one grid per experiment, on just the range in which the maximum can be.

Where spreads are alike the grid is even. Normal densities and all products of their distribution functions are entire
and vanish at both ends, and for such integrands the plain trapezoid rule converges geometrically in 1/step, with a
third of the nodes of any Gauss rule of that accuracy (Trefethen & Weideman 2014). Where spreads differ, or the
integrand has poles, Gauss–Legendre panels are as narrow as each part of the range needs.

Lengths are in whatever unit the caller's variants have. Arrays are (K variants, B experiments) and (N nodes, B): numpy
is fastest along the last axis, and of these three that is the long one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rule:
    """How finely to integrate, in standard deviations of the narrowest variant.

    `tail` is where a normal tail is cut off, `step` the even grid's, `width` that of a panel of `order` nodes. Step
    and width are for two variants; the maximum of K is narrower by about √ln K, and so are they.
    """

    tail: float
    step: float
    width: float
    order: int


EXACT = Rule(tail=7.2, step=.65, width=3.0, order=8)
"""For 1e-8 up to 50 variants, 1e-6 up to 1,000 (measured); a tail of 7.2 weighs 3e-13."""

COARSE = Rule(tail=4.8, step=1.1, width=4.4, order=6)
"""Where lattice points carry an error of 1e-4 anyway: 1e-5."""

CHUNK_VALUES = 4_000
"""Variants × experiments to work through at once: with some 14 nodes each, an array of 450 kB stays in the cache."""

_TURN = math.pi  # how far above the real line a logistic function has its pole
_ALIKE = 6  # up to this ratio of spreads an even grid costs less than a walk


def grid(mean: Floats, sd: Floats, rule: Rule) -> tuple[Floats, Floats]:
    """Nodes (N, B) and weights, (N, B) or alike (1, B), for the maximum of normal variants.

    Args:
        mean: (K, B).
        sd: (K, B), or (K, 1) where all experiments share it; of one scale.
        rule: how finely.
    """
    reach = rule.tail * sd
    left, right = mean - reach, mean + reach
    narrowest = float(sd.min())
    if sd.max() > _ALIKE * narrowest:
        return nodes(panels(left, right, sd, rule.width), rule.order)
    start = left.max(axis=0)
    length = right.max(axis=0) - start
    steps = math.ceil(float(length.max()) / (rule.step * narrowest) * _crowding(len(mean)))
    step = length / steps
    return start + step * np.arange(steps + 1.0)[:, None], step[None]


def panels(left: Floats, right: Floats, sd: Floats, width: float, turns: Floats | None = None) -> Floats:
    """Edges (P + 1, B) of panels from the largest `left` (K, B) to the largest `right` (K, B) of each experiment.

    Below the largest `left` some variant is surely above, so the maximum cannot be there. A panel spans at most
    `width` of the narrowest variant whose `right` is still ahead. `turns` (M, B) are places where integrands turn
    within a length of about 1 however wide they are, as a logistic function does at 0: panels stay short near them.
    Experiments that need fewer panels end in empty ones.
    """
    here, end = left.max(axis=0), right.max(axis=0)
    reach = width / _crowding(len(left)) * sd
    edges = [here]
    while (here < end).any():
        step = np.where(right > here, reach, np.inf).min(axis=0)
        if turns is not None:
            step = np.minimum(step, .4 * (np.abs(here - turns).min(axis=0) + _TURN))
        here = np.minimum(here + step, end)
        edges.append(here)
    return np.stack(edges)


def nodes(edges: Floats, order: int) -> tuple[Floats, Floats]:
    """Nodes and weights, both (P · order, B), of Gauss–Legendre quadrature on every panel."""
    place, weight = _legendre(order)
    half = (edges[1:, None] - edges[:-1, None]) / 2
    middle = (edges[1:, None] + edges[:-1, None]) / 2
    columns = edges.shape[1]
    return (middle + half * place).reshape(-1, columns), (half * weight).reshape(-1, columns)


def _crowding(variants: int) -> float:
    """How much narrower the maximum of K variants is than that of two."""
    return math.sqrt(1 + math.log(variants / 2))


@cache
def _legendre(order: int) -> tuple[Floats, Floats]:
    """Nodes and weights of one panel on [−1, 1], both (order, 1)."""
    place, weight = np.polynomial.legendre.leggauss(order)
    return place[:, None], weight[:, None]
