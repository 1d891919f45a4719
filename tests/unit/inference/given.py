"""Named data for the tests of inference; cells come from the engine's builders."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from trimtab.schema.experiment import Metric
from unit.engine.given import Sums, binary, cells_of, values_cell

__all__ = ["CROOK", "Sums", "binary", "cells_of", "metric", "two_variant_rows", "value_rows", "values_cell"]

CROOK = [
    [binary(990_000, 20_000), binary(10_000, 230)],
    [binary(500_000, 5_000), binary(500_000, 6_000)],
]
"""Crook et al. 2009, table 1: Friday and Saturday, control and treatment; the treatment is better on both days."""


def metric(kind: str = "binary", **changes: Any) -> Metric:
    """The primary metric `m`."""
    return Metric.model_validate({"name": "m", "kind": kind, "primary": True, **changes})


@st.composite
def two_variant_rows(draw: st.DrawFn, max_epochs: int = 3, most: int = 300) -> list[list[Sums]]:
    """Epochs of control and treatment with successes among trials, empty cells included."""
    cell = st.integers(0, most).flatmap(lambda n: st.integers(0, n).map(lambda s: binary(n, s)))
    return draw(st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=max_epochs))


@st.composite
def value_rows(draw: st.DrawFn, max_epochs: int = 3) -> list[list[list[int]]]:
    """Epochs of control and treatment with their scaled values, constant and empty cells included."""
    cell = st.one_of(
        st.lists(st.integers(-1000, 1000), max_size=12),
        st.tuples(st.integers(0, 5), st.integers(0, 8)).map(lambda c: [c[0]] * c[1]),
    )
    return draw(st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=max_epochs))
