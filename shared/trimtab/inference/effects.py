"""The effect to report: one number for the whole experiment, though weights moved.

Tests weigh epochs by how much they tell; a report weighs them by their traffic, so that the number is the difference
that the units in the experiment met.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_share
from trimtab.inference.looks import pooled_variance
from trimtab.inference.pairs import Floats, Pair, check_sums, pair_of
from trimtab.schema.experiment import Metric

if TYPE_CHECKING:
    from trimtab.engine import Cells


@dataclass(frozen=True)
class Effect:
    """Treatment − control in the metric's unit, averaged over traffic, with a normal interval.

    `share_covered` is the share of all units seen in epochs that could be compared, from 0 to 1. The interval holds for
    one look at a time; claims come from `look`. None: nothing could be compared.
    """

    share_covered: float
    effect_size: float | None = None
    effect_size_ci_lower: float | None = None
    effect_size_ci_upper: float | None = None
    standard_error: float | None = None


def stratified_effect(cells: Cells, metric: Metric, control: str, treatment: str, *, level: float = .95) -> Effect:
    """Σ N_e(ȳ_ek − ȳ_e0) / Σ N_e over epochs in which both had units; N_e counts all variants' units.

    Raises:
        InvalidInput: an unknown variant, sums no such metric has, or a level outside (0, 1).
    """
    pair = pair_of(cells, metric.kind, control, treatment)
    traffic = cells.counts.sum(axis=1)
    weight = np.where(pair.met, traffic, 0.0)
    if not weight.any():
        return Effect(0.0)
    share = weight / weight.sum()
    effect = float(share @ (pair.mean_1 - pair.mean_0))
    variance = _variance(share, pair)
    return _effect(float(weight.sum() / traffic.sum()), effect, variance, level)


def _variance(share: Floats, pair: Pair) -> float:
    sizes = ((pair.n_0, pair.squares_0), (pair.n_1, pair.squares_1))
    return float(sum(pooled_variance(n, squares)[-1] * (share**2 / np.maximum(n, 1)).sum() for n, squares in sizes))


def aipw_effect(
    cells: Cells,
    metric: Metric,
    control: str,
    treatment: str,
    served: Mapping[str, Floats],
    *,
    level: float = .95,
) -> Effect:
    """Augmented inverse-propensity effect: unbiased even where a variant that had weight met nobody.

    ψ_e = Σ_i (y_i − m_i)(1{k}/π_ek − 1{0}/π_e0)/N_e, where m_i is the mean of all *other* units of the epoch. Leaving
    the unit itself out makes ψ_e exactly unbiased, and gives ψ_e = N/(N − 1)·Σ_i(y_i − ȳ_e)(…)/N. Epochs are averaged
    by traffic, among those in which both had weight.

    Args:
        served: variant → (E,) the share of traffic it was served with in each epoch of `cells`, in their order.

    Raises:
        InvalidInput: an unknown variant, shares that are missing, do not match the epochs or lie outside [0, 1].
    """
    pair = pair_of(cells, metric.kind, control, treatment)
    check_sums(cells, metric.kind, cells.variants)
    p_0, p_1 = (_shares(served, variant, len(pair.n_0)) for variant in (control, treatment))
    traffic = cells.counts.sum(axis=1)
    used = (p_0 > 0) & (p_1 > 0) & (traffic > 1)
    if not used.any():
        return Effect(0.0)
    psi, spread = _psi(pair, cells, np.where(used, p_0, 1.0), np.where(used, p_1, 1.0))
    weight = np.where(used, traffic, 0.0) / traffic[used].sum()
    variance = float((weight**2 * spread / np.maximum(traffic, 1)).sum())
    return _effect(float(traffic[used].sum() / traffic.sum()), float(weight @ psi), variance, level)


def _psi(pair: Pair, cells: Cells, p_0: Floats, p_1: Floats) -> tuple[Floats, Floats]:
    """(E,) ψ_e and the variance of one unit's share in it, from sums alone."""
    traffic = cells.counts.sum(axis=1)
    middle = cells.sums.sum(axis=1) / np.maximum(traffic, 1)
    correction = traffic / np.maximum(traffic - 1, 1)
    over_0, over_1 = correction / p_0, correction / p_1
    apart_0, apart_1 = pair.mean_0 - middle, pair.mean_1 - middle
    psi = (pair.n_1 * apart_1 * over_1 - pair.n_0 * apart_0 * over_0) / np.maximum(traffic, 1)
    # Squares around the epoch's level are those within the cell and the cell's own.
    squares_0 = over_0**2 * (pair.squares_0 + pair.n_0 * apart_0**2)
    squares_1 = over_1**2 * (pair.squares_1 + pair.n_1 * apart_1**2)
    spread = np.maximum(squares_0 + squares_1 - traffic * psi**2, 0) / np.maximum(traffic - 1, 1)
    return psi, spread


def _shares(served: Mapping[str, Floats], variant: str, epochs: int) -> Floats:
    if variant not in served:
        raise InvalidInput(f"served names no shares of variant {variant!r}.", variant=variant, field="served")
    shares = np.asarray(served[variant], float)
    wrong = shares[~((shares >= 0) & (shares <= 1))]
    if shares.shape != (epochs,) or wrong.size:
        value = float(wrong[0]) if wrong.size else len(shares)
        raise InvalidInput(
            f"served of variant {variant!r} is {value!r}: it takes one share from 0 to 1 for each of {epochs} epochs.",
            variant=variant,
            field="served",
            value=value,
        )
    return shares


def _effect(covered: float, effect: float, variance: float, level: float) -> Effect:
    error = float(np.sqrt(variance))
    reach = error * float(ndtri((1 + check_share("level", level)) / 2))
    return Effect(covered, effect, effect - reach, effect + reach, error)
