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

from trimtab.engine.cells import Cells, pooled
from trimtab.engine.likelihood import Binomial, Family, Poisson
from trimtab.engine.many_epochs import ManyEpochs, laplacian
from trimtab.engine.newton import summit
from trimtab.engine.one_epoch import OneEpoch, information
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]

Epoch = tuple[list[float], list[float]]
"""Units and totals (K,)."""

_FORGOTTEN = 1e-9  # units: what an epoch amounts to that has faded for some fifty half-lives

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


def estimate(cells: Cells, kind: MetricKind, fade: Floats | None = None) -> Estimate:
    """θ̂, L and τ of the additive model for a metric of `kind`.

    `fade` (E,) in [0, 1] says how much each epoch still counts: it multiplies n, Σy and Σy² of the epoch's cells, once
    their exact differences are formed. That is for allocation only: no test may be built on faded cells.

    Raises:
        InvalidInput: sums that this kind of metric cannot have, such as more successes than trials.
    """
    return _MODELS[kind](cells, fade)


def _binary(cells: Cells, fade: Floats | None) -> Estimate:
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
    speaks = [0 < sum(y) < sum(n) * cells.scale for n, y in rows]
    return _fit(Binomial(), _counting(cells, speaks, fade), len(cells.variants))


def _share(cells: Cells, fade: Floats | None) -> Estimate:
    dispersion = _dispersion(cells, fade)
    if dispersion <= 0:
        return silent(len(cells.variants))
    telling = _counting(cells, [total > 0 for total in cells.total.sum(axis=1)], fade, dispersion)
    return _fit(Poisson(), telling, len(cells.variants)) if telling else silent(len(cells.variants))


def _counting(cells: Cells, speaks: list[bool], fade: Floats | None, unit: float = 1.0) -> list[Epoch]:
    """Epochs that say something, each by how much it still counts; totals in units of `unit`."""
    counts, sums = cells.counts, cells.sums / unit
    if fade is not None:
        counts, sums = fade[:, None] * counts, fade[:, None] * sums
        speaks = [each and units > _FORGOTTEN for each, units in zip(speaks, counts.sum(axis=1), strict=True)]
    rows = zip(counts.tolist(), sums.tolist(), speaks, strict=True)
    return [(n, y) for n, y, each in rows if each]


def _dispersion(cells: Cells, fade: Floats | None) -> float:
    """φ = Σ SS_ek / Σ (n_ek − 1)ȳ_ek: variance over mean within cells; the overall ratio where no cell varies."""
    n, sums = cells.counts, cells.sums
    means = sums / np.maximum(n, 1)
    level = pooled(np.maximum(n - 1, 0) * means, fade)
    squares = pooled(cells.squares_within, fade)
    if squares > 0 and level > 0:
        return squares / level
    units, total = float(n.sum()), float(sums.sum())
    return cells.variance_overall() * units / total if total > 0 else 0.0


def _continuous(cells: Cells, fade: Floats | None) -> Estimate:
    size, variance = len(cells.variants), cells.variance_within(fade)
    if variance <= 0:
        return silent(size)
    counts, deviations = cells.counts, cells.deviations
    if fade is not None:
        counts, deviations = fade[:, None] * counts, fade[:, None] * deviations
    matrix, precision = laplacian(counts / variance)
    prior_sd = .5 * float(np.sqrt(variance))
    score = deviations.sum(axis=0) / variance
    theta = np.linalg.solve(matrix + np.eye(size) / prior_sd**2, score)
    return Estimate(theta, matrix, precision, prior_sd)


_MODELS: dict[MetricKind, Callable[[Cells, Floats | None], Estimate]] = {
    MetricKind.BINARY: _binary,
    MetricKind.COUNT: _share,
    MetricKind.REVENUE: _share,
    MetricKind.CONTINUOUS: _continuous,
}


def silent(size: int) -> Estimate:
    return Estimate(np.zeros(size), np.zeros((size, size)), np.zeros(size), 0.0)


def _fit(family: Family, epochs: list[Epoch], size: int) -> Estimate:
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
