"""The service's estimator: one effect per variant, one free level per epoch (STATISTICS §2).

Base rates drift while weights move, so counts pooled over epochs lie (Simpson). Here each epoch has a level of its own,
and only what differs between variants inside an epoch speaks. An epoch with one variant, or none, says nothing; a
variant missing from an epoch loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trimtab.engine.cells import Cells
from trimtab.engine.likelihood import Binomial, Family, Poisson
from trimtab.engine.many_epochs import ManyEpochs, laplacian
from trimtab.engine.newton import summit
from trimtab.engine.one_epoch import OneEpoch, information
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]

PRIOR_SD = .5
"""τ of effects on the logit or log scale: a factor of 1.65 either way is one standard deviation."""


@dataclass(frozen=True)
class Estimate:
    """What data say of effects θ (K,): N(θ̂, (L + I/τ²)⁻¹), of which only contrasts mean anything.

    `information` is L (K, K), `precision` (K,) the part of its diagonal that stays if the epochs' levels were known,
    Σₑ v_ek; `prior_sd` is τ, 0 where the data cannot tell any value from another.
    """

    theta: Floats
    information: Floats
    precision: Floats
    prior_sd: float


def estimate(cells: Cells, kind: MetricKind) -> Estimate:
    """θ̂, L and τ of the additive model for a metric of `kind`.

    Raises:
        InvalidInput: sums that this kind of metric cannot have, such as more successes than trials.
    """
    return _MODELS[kind](cells)


def _binary(cells: Cells) -> Estimate:
    rows = list(zip(cells.n.tolist(), cells.total.tolist(), strict=True))
    for units, successes in rows:
        for variant, n, y in zip(cells.variants, units, successes, strict=True):
            if not 0 <= y <= n:
                raise InvalidInput(
                    f"Variant {variant!r} has a cell with {y} successes, outside 0 … its number of trials.",
                    variant=variant,
                    field="successes",
                    value=y,
                )
    # All or no successes: the epoch's level runs to infinity and takes every contrast with it.
    telling = [(n, [s / cells.scale for s in y]) for n, y in rows if 0 < sum(y) < sum(n) * cells.scale]
    return _fit(Binomial(), telling, len(cells.variants))


def _share(cells: Cells) -> Estimate:
    dispersion = _dispersion(cells)
    units, sums = cells.counts.tolist(), (cells.sums / (dispersion or 1)).tolist()
    telling = [(n, y) for n, y in zip(units, sums, strict=True) if sum(y) > 0]
    if dispersion <= 0 or not telling:
        return silent(len(cells.variants))
    return _fit(Poisson(), telling, len(cells.variants))


def _dispersion(cells: Cells) -> float:
    """φ = Σ SS_ek / Σ (n_ek − 1)ȳ_ek: variance over mean within cells; the overall ratio where no cell varies."""
    n, sums = cells.counts, cells.sums
    means = sums / np.maximum(n, 1)
    level = float((np.maximum(n - 1, 0) * means).sum())
    squares = float(cells.squares_within.sum())
    if squares > 0 and level > 0:
        return squares / level
    units, total = float(n.sum()), float(sums.sum())
    return cells.variance_overall() * units / total if total > 0 else 0.0


def _continuous(cells: Cells) -> Estimate:
    size, variance = len(cells.variants), cells.variance_within()
    if variance <= 0:
        return silent(size)
    matrix, precision = laplacian(cells.counts / variance)
    prior_sd = .5 * float(np.sqrt(variance))
    score = cells.deviations.sum(axis=0) / variance
    theta = np.linalg.solve(matrix + np.eye(size) / prior_sd**2, score)
    return Estimate(theta, matrix, precision, prior_sd)


_MODELS: dict[MetricKind, Callable[[Cells], Estimate]] = {
    MetricKind.BINARY: _binary,
    MetricKind.COUNT: _share,
    MetricKind.REVENUE: _share,
    MetricKind.CONTINUOUS: _continuous,
}


def silent(size: int) -> Estimate:
    return Estimate(np.zeros(size), np.zeros((size, size)), np.zeros(size), 0.0)


def _fit(family: Family, epochs: list[tuple[list[float], list[float]]], size: int) -> Estimate:
    """The maximum of the penalised log-likelihood over levels and effects together; no epoch leaves the prior.

    Args:
        family: of one unit's distribution.
        epochs: units and totals (K,) of each.
        size: K.
    """
    ridge = 1 / PRIOR_SD**2
    if not epochs:
        return Estimate(np.zeros(size), np.zeros((size, size)), np.zeros(size), PRIOR_SD)
    if len(epochs) == 1:
        single = summit(OneEpoch(family, *epochs[0], ridge))
        return Estimate(
            np.array(single.theta), np.array(information(single.weight)), np.array(single.weight), PRIOR_SD
        )
    n, y = np.array(epochs, float).transpose(1, 0, 2)
    found = summit(ManyEpochs(family, n, y, ridge))
    return Estimate(found.theta, *laplacian(found.weight), PRIOR_SD)
