"""Worlds for what may be claimed: many binary experiments at once, (runs, epochs, 2), control first.

The arithmetic is the package's own (`Pair`, `looks`, the mixtures), on arrays; `test_inference_sequential` checks that
`plan_test` and `look`, one look at a time, say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.inference.looks import Looks, looks
from trimtab.inference.mixture import log_evalue, radius, rho_for
from trimtab.inference.pairs import Pair
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Share = Callable[[Integers, Integers], Floats]


def fixed(share: float) -> Share:
    """The treatment's share of traffic, whatever was seen."""
    return lambda n, y: np.full(len(n), share)


def thompson(floor: float, *, pooled: bool = False) -> Share:
    """P(treatment is better), floored: from cells kept apart, or, as most bandits do, from counts added up."""

    def share(n: Integers, y: Integers) -> Floats:
        if not n.shape[1]:
            return np.full(len(n), .5)
        if pooled:
            z = pooled_z(n, y)[:, -1]
        else:
            now = looks(Pair.of_sums(n, y, y), MetricKind.BINARY).last
            z = now.score / np.sqrt(np.maximum(now.variance, 1e-9))
        return np.clip(ndtr(z), floor, 1 - floor)

    return share


@dataclass(frozen=True)
class Runs:
    """Units and successes (R, E, 2), or (E, 2) of one run."""

    n: Integers
    y: Integers

    @property
    def looks(self) -> Looks:
        return looks(Pair.of_sums(self.n, self.y, self.y), MetricKind.BINARY)


def serve(
    rates: Floats, batch: int, share: Share, runs: int, rng: np.random.Generator, *, max_step: float = 1.0
) -> Runs:
    """`rates` (E, 2), one look and one change of shares after each epoch of `batch` units."""
    n, y = (np.zeros((runs, len(rates), 2), np.int64) for _ in range(2))
    weight = np.full(runs, .5)
    for e, rate in enumerate(rates):
        wanted = share(n[:, :e], y[:, :e])
        weight = np.clip(wanted, weight - max_step, weight + max_step) if e else wanted
        n[:, e, 1] = rng.binomial(batch, weight)
        n[:, e, 0] = batch - n[:, e, 1]
        y[:, e] = rng.binomial(n[:, e], rate)
    return Runs(n, y)


def ramp(epochs: int, lift: float = 0.0) -> Floats:
    """(E, 2) base rate 2.5 → 12.5 %, the treatment's higher by the share `lift`."""
    return np.linspace(.025, .125, epochs)[:, None] * np.array([1, 1 + lift])


def frozen_rho(now: Looks, planned_units: int, alpha: float) -> Floats:
    """(R, 1) ρ as `plan_test` freezes it at the first look with enough evidence."""
    first = (now.evidence >= 1).argmax(axis=1)
    rows = np.arange(len(first))
    variance = (now.variance / np.maximum(now.weight, 1e-9))[rows, first]
    rho: Floats = (.3 * planned_units * np.maximum(variance, 1e-12) / 4 * rho_for(1.0, alpha))[:, None]
    return rho


def log_evalues(now: Looks, planned_units: int, alpha: float = .05) -> Floats:
    """(R, E) log e-values, −inf where evidence is missing."""
    found = log_evalue(now.score, now.variance, frozen_rho(now, planned_units, alpha))  # type: ignore[arg-type]
    return np.where(now.evidence >= 1, found, -np.inf)


def ever_misses(now: Looks, effect: float, planned_units: int, variance: Floats, alpha: float = .05) -> float:
    """Share of runs whose confidence sequence leaves `effect` out at any look."""
    half = radius(variance, frozen_rho(now, planned_units, alpha), alpha)  # type: ignore[arg-type]
    return float(((np.abs(now.score - effect * now.weight) > half) & (now.evidence >= 1)).any(axis=1).mean())


def pooled_z(n: Integers, y: Integers) -> Floats:
    """(R, E) the wrong statistic: two-proportion z of counts added up over epochs."""
    units, hits = n.cumsum(axis=1).astype(float), y.cumsum(axis=1).astype(float)
    rate = hits.sum(axis=2) / units.sum(axis=2)
    means = hits / np.maximum(units, 1)
    error = np.sqrt(np.maximum(rate * (1 - rate), 1e-12) * (1 / np.maximum(units, 1)).sum(axis=2))
    return (means[..., 1] - means[..., 0]) / error
