"""Sums are integers, exact to the last digit, whatever the order and the size."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.fold.aggregate import exact_cells
from trimtab.fold.state import Cell

LARGEST = 2**53 - 1
values = st.lists(st.tuples(st.integers(0, 3), st.integers(-LARGEST, LARGEST)), max_size=200)


@given(values)
def test_sums_equal_those_of_python_integers(rows: list[tuple[int, int]]) -> None:
    """For any |x| < 2⁵³: n, Σx and Σx² of each cell are what unlimited integers give."""
    cells = exact_cells(np.array([c for c, _ in rows], dtype=int), np.array([x for _, x in rows], dtype=int), 4)
    for place, found in enumerate(cells):
        mine = [x for c, x in rows if c == place]
        assert found == Cell(len(mine), sum(mine), sum(x * x for x in mine))


def test_many_large_values_stay_exact_where_floats_would_round() -> None:
    """300,000 values near 2⁵³, more than one pass takes, in one cell."""
    value = LARGEST - 2
    found = exact_cells(np.zeros(300_000, dtype=int), np.full(300_000, value), 1)
    assert found == [Cell(300_000, 300_000 * value, 300_000 * value**2)]


@given(values, values)
def test_sums_of_parts_add_up_to_the_sum_of_the_whole(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    """Statistics are a monoid: folding two batches apart and adding gives what folding them together gives."""

    def cells(rows: list[tuple[int, int]]) -> list[Cell]:
        return exact_cells(np.array([c for c, _ in rows], dtype=int), np.array([x for _, x in rows], dtype=int), 4)

    assert [a + b for a, b in zip(cells(one), cells(other), strict=True)] == cells(one + other)
