"""Exact sums of integers per cell, at the speed of floats.

A value is cut into limbs of 18 bits. A product of two limbs is below 2³⁶, so a float64 sum of up to 2¹⁷ of them stays
below 2⁵³ and is exact; `numpy.bincount` does those sums in C, and Python integers put the limbs together again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trimtab.fold.state import Cell

Integers = NDArray[np.int64]

LIMB_BITS = 18
ROWS_AT_ONCE = 2**17


def exact_cells(cell: Integers, values: Integers, n_cells: int) -> list[Cell]:
    """n, Σx and Σx² of `values` (|x| < 2⁵³) in each of `n_cells` cells; `cell` holds each value's place."""
    sums = [Cell()] * n_cells
    for start in range(0, len(values), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        counts = np.bincount(cell[rows], minlength=n_cells).tolist()
        totals, squares = _sums(cell[rows], values[rows], n_cells)
        sums = [s + Cell(*new) for s, new in zip(sums, zip(counts, totals, squares, strict=True), strict=True)]
    return sums


def _sums(cell: Integers, values: Integers, n_cells: int) -> tuple[list[int], list[int]]:
    magnitude = np.abs(values)
    limbs = list(_limbs(magnitude))
    sign = np.sign(values) if values.min() < 0 else None
    totals, squares = [0] * n_cells, [0] * n_cells
    for i, low in enumerate(limbs):
        signed = low if sign is None else low * sign
        _add(totals, cell, signed, i * LIMB_BITS)
        for j, high in enumerate(limbs[i:], start=i):
            _add(squares, cell, low * high, (i + j) * LIMB_BITS + (j > i))
    return totals, squares


def _limbs(magnitude: Integers) -> Iterator[NDArray[np.float64]]:
    bits = max(1, int(magnitude.max()).bit_length())
    for shift in range(0, bits, LIMB_BITS):
        yield ((magnitude >> shift) & (2**LIMB_BITS - 1)).astype(np.float64)


def _add(sums: list[int], cell: Integers, weights: NDArray[np.float64], shift: int) -> None:
    for place, part in enumerate(np.bincount(cell, weights=weights, minlength=len(sums)).tolist()):
        sums[place] += int(part) << shift
