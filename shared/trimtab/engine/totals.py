"""Posteriors of totals: what one period's trials say of each variant alone, for every kind of metric (STATISTICS §2).

All variants share a prior that the data place: centred on what they have in common, and as vague as a trial or two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trimtab.engine.probability import Floats, probability_best_beta, probability_best_gamma, probability_best_t
from trimtab.engine.strategies import Places
from trimtab.schema.experiment import MetricKind


@dataclass(frozen=True, slots=True)
class Totals:
    """What was seen of K variants: `trials`, `mean` and sample `variance` of one metric, each (K,).

    A variant without trials has mean and variance 0. The variance of successes and failures follows from their mean.
    """

    trials: Floats
    mean: Floats
    variance: Floats

    @property
    def sums(self) -> Floats:
        return self.trials * self.mean

    @property
    def common_mean(self) -> float:
        return float(self.sums.sum() / max(self.trials.sum(), 1))

    @property
    def squares(self) -> Floats:
        """Σ(y − ȳ)² within each variant."""
        centred: Floats = np.maximum(self.trials - 1, 0) * self.variance
        return centred

    @property
    def spread(self) -> float:
        """The variance within variants, pooled; of all trials together where they vary in none; 0 where all are alike.

        From centred moments: Σx² − (Σx)²/n would lose every digit of a mean of 1e8.
        """
        within = float(self.squares.sum())
        if within > 0:
            return within / float(np.maximum(self.trials - 1, 0).sum())
        between = float((self.trials * (self.mean - self.common_mean) ** 2).sum())
        return between / max(float(self.trials.sum()) - 1, 1)


@dataclass(frozen=True, slots=True)
class TotalsPosterior:
    """`parameters` (K,) by name, the `prior` they share, and P(best) among the variants at some places."""

    parameters: dict[str, Floats]
    prior: dict[str, float]
    p_best_among: Callable[[Places], Floats]


def posterior_of(totals: Totals, kind: MetricKind, *, higher_is_better: bool) -> TotalsPosterior:
    """What is believed of each variant's mean; variants that the data tell nothing apart are equally likely best."""
    match kind:
        case MetricKind.BINARY:
            return _beta(totals, higher_is_better)
        case MetricKind.COUNT | MetricKind.REVENUE:
            return _gamma(totals, higher_is_better, overdispersion_from=1.0 if kind is MetricKind.COUNT else 0.0)
        case MetricKind.CONTINUOUS:
            return _student(totals, higher_is_better)


def _beta(totals: Totals, higher_is_better: bool) -> TotalsPosterior:
    """Beta(κm + s, κ(1 − m) + n − s).

    m = (Σs + ½)/(Σn + 1) puts the prior where the data are, and κ = 4/(m(1 − m)) − 1 gives it a standard deviation of ½
    on the logit scale, so that a rate of 1 in 1,000 is not pulled up by a prior that expects 1 in 2.
    """
    trials, successes = totals.trials, totals.sums.round()
    mean = (successes.sum() + .5) / (trials.sum() + 1)
    strength = 4 / (mean * (1 - mean)) - 1
    prior = {"alpha": float(strength * mean), "beta": float(strength * (1 - mean))}
    alpha, beta = prior["alpha"] + successes, prior["beta"] + trials - successes
    # The lowest rate of success is the highest of failure.
    first, second = (alpha, beta) if higher_is_better else (beta, alpha)
    return TotalsPosterior(
        {"alpha": alpha, "beta": beta}, prior, lambda places: probability_best_beta(first[places], second[places])
    )


def _gamma(totals: Totals, higher_is_better: bool, overdispersion_from: float) -> TotalsPosterior:
    """Gamma(1 + Σy/φ, 1/ȳ + n/φ) of the mean, with φ = s²/ȳ pooled, at least 1 for counts.

    Dividing by φ counts independent trials' worth rather than events, of which few of the clustered are; the prior has
    the common mean ȳ. (STATISTICS gives the rate of the prior as φ/ȳ; on the scale of y, on which n/φ is, it is 1/ȳ.)
    """
    common = totals.common_mean
    if common <= 0 or totals.spread <= 0:
        return _nothing_told_apart(totals)
    dispersion = max(overdispersion_from, totals.spread / common)
    shape, rate = 1 + totals.sums / dispersion, 1 / common + totals.trials / dispersion
    return TotalsPosterior(
        {"shape": shape, "rate": rate},
        {"shape": 1.0, "rate": 1 / common, "dispersion": dispersion},
        lambda places: probability_best_gamma(shape[places], rate[places], lowest=not higher_is_better),
    )


def _student(totals: Totals, higher_is_better: bool) -> TotalsPosterior:
    """Student's t of the mean, by a normal–inverse-gamma prior: m₀ the common mean, κ₀ = 1, ν₀ = 4, s₀² the spread."""
    if totals.spread <= 0:
        return _nothing_told_apart(totals)
    n, common, unit = totals.trials, totals.common_mean, math.sqrt(totals.spread)
    # Centred, so that a mean of 1e8 with sd 1 keeps its digits; in units of the spread, so that no square overflows.
    ahead = np.where(n > 0, totals.mean - common, 0.0) / unit
    freedom = 4 + n
    squares = 4 + totals.squares / totals.spread + n / (1 + n) * ahead**2
    mean, scale = n / (1 + n) * ahead, np.sqrt(squares / freedom / (1 + n))
    better = mean if higher_is_better else -mean
    return TotalsPosterior(
        {"mean": common + mean * unit, "scale": scale * unit, "degrees_of_freedom": freedom},
        {"mean": common, "trials": 1.0, "variance": totals.spread, "degrees_of_freedom": 4.0},
        lambda places: probability_best_t(better[places], scale[places], freedom[places]),
    )


def _nothing_told_apart(totals: Totals) -> TotalsPosterior:
    return TotalsPosterior({"mean": totals.mean}, {}, lambda places: np.full(len(places), 1 / len(places)))
