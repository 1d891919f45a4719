"""Sums of cells for many runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """n units, Σ and Σ² of their scaled values; three integer arrays of one shape, variants last."""

    n: Ints
    total: Ints
    total_sq: Ints

    @classmethod
    def zeros(cls, *shape: int) -> Self:
        return cls(*(np.zeros(shape, np.int64) for _ in range(3)))

    @classmethod
    def concatenate(cls, several: Sequence[Self]) -> Self:
        """One after another along the first axis."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*(each._arrays for each in several), strict=True)))

    def __getitem__(self, place: Any) -> Sums:
        return Sums(self.n[place], self.total[place], self.total_sq[place])

    def add(self, place: Any, more: Sums) -> None:
        """Add `more` to the cells at `place`."""
        for own, other in zip(self._arrays, more._arrays, strict=True):
            own[place] += other

    def over(self, axis: int) -> Sums:
        """Added up along an axis."""
        return Sums(*(array.sum(axis=axis) for array in self._arrays))

    @property
    def _arrays(self) -> tuple[Ints, Ints, Ints]:
        return self.n, self.total, self.total_sq
