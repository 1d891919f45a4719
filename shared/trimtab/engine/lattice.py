"""Points that fill the space of common factors evenly: a rank-1 lattice, the same on every machine.

The generating vector was found by component-by-component search (Nuyens & Cools 2006) for 2,048 points with product
weights .7/d^1.5, because factors come largest first. The tent map x → 1 − |2x − 1| makes any smooth integrand periodic,
which is what lattices are fast for (Hickernell 2002). Measured no worse than unscrambled Sobol points on the posteriors of
`tests/statistics`, and it needs neither direction numbers nor scipy.stats, which takes seconds to import.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]

# fmt: off
_GENERATOR = (
    1, 791, 591, 897, 963, 437, 757, 851, 489, 995, 695, 919, 985, 1005, 225, 653, 735, 623, 239, 771, 375, 287, 545, 27,
    889, 609, 705, 555, 191, 423, 943, 823, 839, 159, 569, 857, 427, 309, 149, 343, 175, 387, 671, 679, 131, 883, 999,
    727, 73, 331, 69, 809, 221, 973, 1001, 313, 953, 511, 739, 833, 641, 411, 837, 229,
)
# fmt: on
MAX_FACTORS = len(_GENERATOR)
"""Factors beyond these are the smallest of more than 64, and are treated as independent noise of each variant."""

_HERMITE_UP_TO = 2
_HERMITE_NODES = {1: 40, 2: 24}  # per factor


@cache
def factor_points(factors: int, variants: int) -> tuple[Floats, Floats]:
    """Standard normal points (N, factors) with weights (N,) that add up to 1.

    One or two factors take a Gauss–Hermite product, more take the lattice: 2,048 points, 1,024 from 20 variants on.
    """
    if factors <= _HERMITE_UP_TO:
        return _hermite(factors)
    points = 2048 if variants < 20 else 1024
    index = np.arange(points)[:, None]
    shift = np.sqrt(np.arange(2, 2 + factors))  # keeps the origin, where ndtri is infinite, off the lattice
    uniform = 1 - np.abs(2 * ((index * np.array(_GENERATOR[:factors]) / points + shift) % 1) - 1)
    normal: Floats = ndtri(np.clip(uniform, 1e-12, 1 - 1e-12))
    return normal, np.full(points, 1 / points)


def _hermite(factors: int) -> tuple[Floats, Floats]:
    place, weight = np.polynomial.hermite_e.hermegauss(_HERMITE_NODES[factors])
    weight = weight / weight.sum()
    if factors == 1:
        return place[:, None], weight
    first, second = np.meshgrid(place, place, indexing="ij")
    mass = np.outer(weight, weight).ravel()
    kept = mass > 1e-12  # the corners of the product weigh nothing
    return np.stack([first.ravel()[kept], second.ravel()[kept]], axis=1), mass[kept] / mass[kept].sum()
