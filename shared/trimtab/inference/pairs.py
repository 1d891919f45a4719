"""One treatment against control, epoch by epoch: all that tests and effects need of the cells.

h_e = n_0n_k/(n_0 + n_k) is the weight of an epoch, D_e = ȳ_ek − ȳ_e0 its difference, so that an epoch with one variant,
or none, says nothing. Differences are formed from exact sums; floats appear only afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind

if TYPE_CHECKING:
    from trimtab.engine import Cells

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """Arrays (…, E), control first where there are two; in the metric's own unit, or that squared.

    `n_0`, `n_1` units; `mean_0`, `mean_1` means, 0 where there is no unit; `harmonic` h_e; `score` h_e·D_e;
    `variance` s²_{e,tot} of both together, 0 for fewer than two units; `squares_0`, `squares_1` squared deviations
    within the cell, added up.
    """

    n_0: Floats
    n_1: Floats
    mean_0: Floats
    mean_1: Floats
    harmonic: Floats
    score: Floats
    variance: Floats
    squares_0: Floats
    squares_1: Floats

    @classmethod
    def of_sums(cls, n: npt.NDArray[Any], total: npt.NDArray[Any], total_sq: npt.NDArray[Any], scale: int = 1) -> Pair:
        """From sums (…, E, 2), control first; integers of any kind, Python's own never overflow."""
        units, sums, squares = (array.sum(axis=-1) for array in (n, total, total_sq))
        both = np.maximum(units.astype(float), 1)
        crossed = total[..., 1] * n[..., 0] - total[..., 0] * n[..., 1]
        spread = (units * squares - sums * sums).astype(float) / (both * np.maximum(both - 1, 1))
        within = (n * total_sq - total * total).astype(float) / np.maximum(n.astype(float), 1)
        counts = n.astype(float)
        means = total.astype(float) / np.maximum(counts, 1) / scale
        return cls(
            n_0=counts[..., 0],
            n_1=counts[..., 1],
            mean_0=means[..., 0],
            mean_1=means[..., 1],
            harmonic=counts[..., 0] * counts[..., 1] / both,
            score=crossed.astype(float) / both / scale,
            variance=np.where(units > 1, spread, 0.0) / float(scale) ** 2,
            squares_0=within[..., 0] / float(scale) ** 2,
            squares_1=within[..., 1] / float(scale) ** 2,
        )

    @property
    def units(self) -> Floats:
        """(…, E) units of both variants."""
        return self.n_0 + self.n_1

    @property
    def met(self) -> npt.NDArray[np.bool_]:
        """(…, E) whether both variants had units in the epoch."""
        return self.harmonic > 0


def pair_of(cells: Cells, kind: MetricKind, control: str, treatment: str) -> Pair:
    """`treatment` against `control`, epochs in order.

    Raises:
        InvalidInput: a variant the cells do not hold, one compared with itself, or sums no metric of this kind has.
    """
    if control == treatment:
        raise InvalidInput(
            f"treatment {treatment!r} is the control itself.", field="treatment", variant=treatment, value=treatment
        )
    columns = [_column(cells, "control", control), _column(cells, "treatment", treatment)]
    check_sums(cells, kind, (control, treatment))
    n, total, total_sq = (array[:, columns] for array in (cells.n, cells.total, cells.total_sq))
    return Pair.of_sums(n, total, total_sq, cells.scale)


def check_sums(cells: Cells, kind: MetricKind, variants: tuple[str, ...]) -> None:
    """Refuse successes that are not among the trials, and totals below nothing.

    Raises:
        InvalidInput: it names variant, field and value.
    """
    columns = [_column(cells, "variant", variant) for variant in variants]
    n, total = cells.n[:, columns], cells.total[:, columns]
    if kind is MetricKind.BINARY:
        field, wrong, why = "successes", (total < 0) | (total > n), "outside 0 … its trials in that epoch"
    elif kind is MetricKind.COUNT:
        field, wrong, why = "total", total < 0, "below 0: a count cannot be negative"
    else:
        return
    if wrong.any():
        e, k = np.argwhere(wrong)[0]
        value = total[e, k]
        raise InvalidInput(
            f"{field} of variant {variants[k]!r}: {value} is {why}.", variant=variants[k], field=field, value=value
        )


def _column(cells: Cells, field: str, variant: str) -> int:
    if variant not in cells.variants:
        raise InvalidInput(
            f"{field} {variant!r} is not one of the variants {', '.join(cells.variants)}.",
            variant=variant,
            field=field,
            value=variant,
        )
    return cells.variants.index(variant)
