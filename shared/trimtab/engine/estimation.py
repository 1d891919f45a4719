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
from trimtab.engine.likelihood import Binomial, Family, Point, Poisson, at
from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]

PRIOR_SD = .5
"""τ of effects on the logit or log scale: a factor of 1.65 either way is one standard deviation."""

_STEPS = 60  # Newton takes about six; step halving may need more on adversarial data
_LONGEST_STEP = 2.0  # in logits: from the far flat tail a full step would overshoot to infinity
_CONVERGED = 1e-10


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
    wrong = (cells.total < 0) | (cells.total > cells.n)
    if wrong.any():
        _, k = np.argwhere(wrong)[0]
        value = cells.total[:, k].max()
        raise InvalidInput(
            f"Variant {cells.variants[k]!r} has a cell with {value} successes, outside 0 … its number of trials.",
            variant=cells.variants[k],
            field="successes",
            value=value,
        )
    n, y = cells.counts, cells.sums
    # All or no successes: the epoch's level runs to infinity and takes every contrast with it.
    telling = (y.sum(axis=1) > 0) & (y.sum(axis=1) < n.sum(axis=1))
    return _fit(Binomial(), n[telling], y[telling])


def _share(cells: Cells) -> Estimate:
    n, sums = cells.counts, cells.sums
    dispersion = _dispersion(cells)
    telling = sums.sum(axis=1) > 0
    if dispersion <= 0 or not telling.any():
        return silent(len(cells.variants))
    return _fit(Poisson(), n[telling], sums[telling] / dispersion)


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
    information, precision = _laplacian(cells.counts / variance)
    prior_sd = .5 * float(np.sqrt(variance))
    score = cells.deviations.sum(axis=0) / variance
    theta = np.linalg.solve(information + np.eye(size) / prior_sd**2, score)
    return Estimate(theta, information, precision, prior_sd)


_MODELS: dict[MetricKind, Callable[[Cells], Estimate]] = {
    MetricKind.BINARY: _binary,
    MetricKind.COUNT: _share,
    MetricKind.REVENUE: _share,
    MetricKind.CONTINUOUS: _continuous,
}


def silent(size: int) -> Estimate:
    return Estimate(np.zeros(size), np.zeros((size, size)), np.zeros(size), 0.0)


def _fit(family: Family, n: Floats, y: Floats) -> Estimate:
    """The maximum of the penalised log-likelihood by damped Newton over levels and effects together.

    It is concave, so what is found is the maximum. Levels are eliminated from each step, which leaves K equations:
    (L + I/τ²) δθ = Σₑ(rₑ − vₑ Σₖr_ek/Σₖv_ek) − θ/τ², and δα_e = (Σₖr_ek − vₑ·δθ)/Σₖv_ek.
    """
    ridge = 1 / PRIOR_SD**2
    here = at(family, n, y, ridge, family.link(y.sum(axis=1) / n.sum(axis=1)), np.zeros(n.shape[1]))
    penalty = ridge * np.eye(n.shape[1])
    for _ in range(_STEPS):
        information, _ = _laplacian(here.weight)
        whole, excess = here.weight.sum(axis=1), here.residual.sum(axis=1)
        score = here.residual.sum(axis=0) - (excess / whole) @ here.weight - ridge * here.theta
        effect = np.linalg.solve(information + penalty, score)
        level = (excess - here.weight @ effect) / whole
        longest = max(np.abs(effect).max(), np.abs(level).max(initial=0.0))
        if longest < _CONVERGED:
            break
        here = _climb(family, n, y, ridge, here, level, effect, min(1.0, _LONGEST_STEP / longest))
    information, precision = _laplacian(here.weight)
    return Estimate(here.theta, information, precision, PRIOR_SD)


def _climb(
    family: Family, n: Floats, y: Floats, ridge: float, here: Point, level: Floats, effect: Floats, length: float
) -> Point:
    """The point a step leads to, halved until it is no lower than `here`, up to rounding."""
    least = here.value - 1e-12 * (1 + abs(here.value))
    for _ in range(40):
        there = at(family, n, y, ridge, here.level + length * level, here.theta + length * effect)
        if there.value >= least:
            return there
        length /= 2
    return here


def _laplacian(weight: Floats) -> tuple[Floats, Floats]:
    """L = Σₑ diag(vₑ) − vₑvₑᵀ/Σₖv_ek and Σₑ vₑ, from v (E, K); epochs without weight add nothing."""
    level = weight.sum(axis=1)
    precision = weight.sum(axis=0)
    share = weight / np.where(level > 0, level, 1.0)[:, None]
    return np.diag(precision) - weight.T @ share, precision
