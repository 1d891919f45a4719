"""Cells: exact sums of one metric per epoch and variant, as the fold hands them over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trimtab.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Exact = npt.NDArray[np.object_]
"""Python integers of any size: no sum overflows and no difference of sums loses a digit."""


@dataclass(frozen=True)
class Cells:
    """Sums of one metric in E epochs × K variants.

    `n` counts units, `total` adds up round-half-even(x·scale), `total_sq` its squares; all are (E, K) arrays of Python
    integers, `epochs` their E numbers. An absent variant is a cell of zeros. Floats appear only after the exact
    differences are formed.
    """

    variants: tuple[str, ...]
    n: Exact
    total: Exact
    total_sq: Exact
    scale: int = 1
    epochs: tuple[int, ...] = ()

    @classmethod
    def gather(
        cls,
        variants: Iterable[str],
        sums: Mapping[tuple[int, str], Sequence[int]],
        *,
        scale: int = 1,
    ) -> Self:
        """Cells of `variants`, sorted by id, from `(epoch, variant) → (n, total, total_sq)`; others are left out.

        Raises:
            InvalidInput: a sum that no data can have; the message names epoch, variant and value.
        """
        ids = tuple(sorted(variants))
        place = {variant: k for k, variant in enumerate(ids)}
        known = {key: value for key, value in sums.items() if key[1] in place}
        row = {epoch: e for e, epoch in enumerate(sorted({epoch for epoch, _ in known}))}
        grid = [[(0, 0, 0)] * len(ids) for _ in row]
        for (epoch, variant), values in known.items():
            grid[row[epoch]][place[variant]] = _checked_cell(epoch, variant, values)
        exact = np.array(grid, object).reshape(len(row), len(ids), 3)
        return cls(ids, exact[:, :, 0], exact[:, :, 1], exact[:, :, 2], scale, tuple(row))

    @cached_property
    def counts(self) -> Floats:
        """(E, K) units as floats."""
        return self.n.astype(float)

    @cached_property
    def sums(self) -> Floats:
        """(E, K) totals in the metric's own unit."""
        return self.total.astype(float) / self.scale

    @cached_property
    def trials(self) -> list[int]:
        """(K,) units per variant over all epochs."""
        return [sum(column) for column in zip(*self.n.tolist(), strict=True)] or [0] * len(self.variants)

    @cached_property
    def totals(self) -> list[float]:
        """(K,) Σ of the metric per variant over all epochs, in its own unit."""
        columns = zip(*self.total.tolist(), strict=True)
        return [sum(column) / self.scale for column in columns] or [0.0] * len(self.variants)

    @cached_property
    def squares_within(self) -> Floats:
        """(E, K) squared deviations from the cell's mean, added up: (nQ − S²)/n, exact numerator, own unit squared."""
        exact = self.n * self.total_sq - self.total * self.total
        within: Floats = exact.astype(float) / np.maximum(self.counts, 1) / float(self.scale) ** 2
        return within

    @cached_property
    def deviations(self) -> Floats:
        """(E, K) n_ek(ȳ_ek − ȳ_e): S_ek − n_ek S_e/N_e with exact numerator, in the metric's own unit."""
        units = self.n.sum(axis=1, keepdims=True)
        exact = self.total * units - self.n * self.total.sum(axis=1, keepdims=True)
        apart: Floats = exact.astype(float) / np.maximum(units.astype(float), 1) / self.scale
        return apart

    def variance_within(self, fade: Floats | None = None) -> float:
        """Pooled within-cell variance; the overall one where no cell varies; 0 where no value differs from another.

        `fade` (E,) says how much each epoch counts; default: all the same.
        """
        freedom = pooled(np.maximum(self.counts - 1, 0), fade)
        inside = pooled(self.squares_within, fade) / freedom if freedom > 0 else 0.0
        return inside if inside > 0 else self.variance_overall()

    def variance_overall(self) -> float:
        """Variance of all values around their one mean, own unit squared; 0 for fewer than two."""
        n, total, squares = (int(array.sum()) for array in (self.n, self.total, self.total_sq))
        return (n * squares - total * total) / (n * (n - 1)) / self.scale**2 if n > 1 else 0.0


def pooled(values: Floats, fade: Floats | None) -> float:
    """Σ of (E, K) values, each epoch by how much it counts."""
    return float(values.sum() if fade is None else fade @ values.sum(axis=1))


def _checked_cell(epoch: int, variant: str, values: Sequence[Any]) -> tuple[int, int, int]:
    try:
        n, total, total_sq = map(index, values)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"The sums of variant {variant!r} in epoch {epoch} are {values!r}, not three whole numbers.",
            variant=variant,
            field="sums",
            value=values,
        ) from None
    if n < 0 or total_sq < 0 or n * total_sq < total * total or (n == 0 and (total or total_sq)):
        raise InvalidInput(
            f"The sums of variant {variant!r} in epoch {epoch} cannot come from any data: "
            f"n {n}, total {total}, total of squares {total_sq}.",
            variant=variant,
            field="total_sq",
            value=total_sq,
        )
    return n, total, total_sq
