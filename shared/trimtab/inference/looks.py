"""What a pair of variants says after each epoch: score, its variance under no effect, and how much evidence that is.

Everything is a running sum over epochs, so one call gives all looks of an experiment, or of many at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from trimtab.inference.pairs import Floats, Pair
from trimtab.schema.experiment import MetricKind

LEAST_EVENTS = 10.0
"""Rarer outcomes the smaller side needs before a claim on a binary metric: below that, S is not near normal."""
LEAST_UNITS = 100.0
"""Units each variant needs before a claim on any other metric; the same reason."""


@dataclass(frozen=True)
class Looks:
    """Arrays (…, E): what is known after epoch e; in the metric's own unit.

    `score` S = Σh_eD_e; `variance` V of S where there is no effect; `weight` H = Σh_e, so S/H is the effect;
    `base` Σh_e·ȳ_e0, so base/H is the control's mean; `own_variance` Σh_e²(s̄²_0/n_e0 + s̄²_k/n_ek), S's variance where
    there is an effect; `base_variance` the part of that which control brings; `evidence` the share of the minimum
    evidence that is there, ≥ 1 being enough.
    """

    score: Floats
    variance: Floats
    weight: Floats
    base: Floats
    own_variance: Floats
    base_variance: Floats
    evidence: Floats

    @property
    def last(self) -> Looks:
        """The newest look: arrays (…), zeros where no epoch was."""
        return Looks(**{field.name: _last(getattr(self, field.name)) for field in fields(self)})


def looks(pair: Pair, kind: MetricKind) -> Looks:
    """Running sums over the epochs of `pair`, each with its V (STATISTICS §4).

    Binary: V_e = n_0n_kY(N − Y)/(N²(N − 1)), the hypergeometric variance of h_eD_e given the margins.
    Otherwise: V = max(Σh_e s²_{e,tot}, Σh_e²(s̄²_0/n_e0 + s̄²_k/n_ek)), s̄² pooled within cells over epochs so far.
    """
    weight = pair.harmonic
    from_0, from_1 = _own_variances(pair)
    together = _running(weight * pair.variance)
    binary = kind is MetricKind.BINARY
    return Looks(
        score=_running(pair.score),
        variance=together if binary else np.maximum(together, from_0 + from_1),
        weight=_running(weight),
        base=_running(weight * pair.mean_0),
        own_variance=from_0 + from_1,
        base_variance=from_0,
        evidence=_events(pair) / LEAST_EVENTS if binary else _units(pair) / LEAST_UNITS,
    )


def _own_variances(pair: Pair) -> tuple[Floats, Floats]:
    """Σh_e² s̄²/n_e of control and of treatment, with each one's own s̄²."""
    return _own(pair, pair.n_0, pair.squares_0), _own(pair, pair.n_1, pair.squares_1)


def _own(pair: Pair, n: Floats, squares: Floats) -> Floats:
    own: Floats = pooled_variance(n, squares) * _running(pair.harmonic**2 / np.maximum(n, 1))
    return own


def pooled_variance(n: Floats, squares: Floats) -> Floats:
    """(…, E) variance within cells of one variant over the epochs so far; 0 where no cell has two units."""
    freedom = _running(np.maximum(n - 1, 0))
    pooled: Floats = _running(squares) / np.maximum(freedom, 1)
    return pooled


def _events(pair: Pair) -> Floats:
    """Σ min(n_e0, n_ek)·Y_e/N_e, Y_e the rarer of the two outcomes: .999 is as far from normal as .001."""
    units = np.maximum(pair.units, 1)
    rate = (pair.n_0 * pair.mean_0 + pair.n_1 * pair.mean_1) / units
    return _running(np.minimum(pair.n_0, pair.n_1) * np.minimum(rate, 1 - rate))


def _units(pair: Pair) -> Floats:
    met = pair.met
    fewer: Floats = np.minimum(_running(np.where(met, pair.n_0, 0.0)), _running(np.where(met, pair.n_1, 0.0)))
    return fewer


def _running(values: Floats) -> Floats:
    summed: Floats = np.cumsum(values, axis=-1)
    return summed


def _last(values: Floats) -> Floats:
    newest: Floats = values[..., -1] if values.shape[-1] else np.zeros(values.shape[:-1])
    return newest
