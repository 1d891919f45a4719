"""Where to look: Gauss–Legendre panels that cover just the range in which the maximum can be.

Lengths are in whatever unit the caller's variants have; arrays are (B experiments, K variants).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TAIL = 7.2
"""Standard deviations after which a normal tail (3e-13) is nothing."""

ORDER = 8
"""Nodes per panel, for 1e-8."""

COARSE = 6
"""Nodes per panel where lattice points carry an error of 1e-4 anyway; with 4 the panels' own shows."""

_WIDTH = 2.4  # widest panel, in standard deviations of the narrowest variant, for two variants
_ALIKE = 3.0  # up to this ratio of spreads equal panels cost less than a walk
CHUNK_VALUES = 4_000
"""Values (rows × variants) per chunk: with about 100 nodes each, its arrays of 3 MB stay near the cache."""


def panels(left: Floats, right: Floats, sd: Floats, *, pole: float | None = None) -> Floats:
    """Edges (B, P + 1) of panels from the largest `left` to the largest `right` of each row.

    Below the largest `left` some variant is surely above, so the maximum cannot be there. A panel spans at most
    `_WIDTH` of the narrowest variant whose `right` is still ahead; with K variants the maximum is narrower by about
    √ln K, and so are the panels. `pole` is the distance of a singularity above x = 0 in the complex plane, which
    panels must stay short against. Rows that need fewer panels end in empty ones.
    """
    start, end = left.max(axis=1), right.max(axis=1)
    reach = _WIDTH / np.sqrt(1 + np.log(left.shape[1] / 2)) * sd
    if pole is None and (reach.max() <= _ALIKE * reach.min()):
        steps = np.ceil(((end - start) / reach.min(axis=1)).max())
        even: Floats = start[:, None] + (end - start)[:, None] * (np.arange(steps + 1) / steps)
        return even
    edges, here = [start], start
    while True:
        step = np.where(right > here[:, None], reach, np.inf).min(axis=1)
        if pole is not None:
            step = np.minimum(step, .4 * (np.abs(here) + pole))
        here = np.minimum(here + step, end)
        edges.append(here)
        if (here >= end).all():
            return np.stack(edges, axis=1)


def nodes(edges: Floats, order: int = ORDER) -> tuple[Floats, Floats]:
    """Nodes and weights, both (B, P · order), of Gauss–Legendre quadrature on every panel."""
    place, weight = _legendre(order)
    half = np.diff(edges, axis=1)[:, :, None] / 2
    middle = (edges[:, 1:, None] + edges[:, :-1, None]) / 2
    rows = len(edges)
    return (middle + half * place).reshape(rows, -1), (half * weight).reshape(rows, -1)


def split(rows: int, variants: int) -> Iterator[slice]:
    """Slices of rows small enough that one chunk's (rows, ~100 nodes, K) arrays stay near the cache."""
    size = max(1, CHUNK_VALUES // variants)
    for start in range(0, rows, size):
        yield slice(start, start + size)


@cache
def _legendre(order: int) -> tuple[Floats, Floats]:
    place, weight = np.polynomial.legendre.leggauss(order)
    return place, weight
