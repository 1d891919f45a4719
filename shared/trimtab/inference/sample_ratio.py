"""Does traffic split as it was served? An e-process that may be asked at every recompute, and a leak test.

If assignment, logging or filtering loses units of one variant, no comparison can be trusted, whatever its p-value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_count
from trimtab.schema.base import PARTS

Floats = npt.NDArray[np.float64]

TILTS = (-.2, -.1, -.05, -.02, .02, .05, .1, .2)
"""Relative losses and gains of one variant that the mixture looks for, with equal weight."""
ALARM = 1000.0
"""E at which we call it: under a correct split it is ever reached with probability ≤ 1/1000 (Ville)."""
LEAST_LEAK = 5
LEAK_SHARE = 1e-4
"""Exposures of a variant without weight that are still noise: clients hold a replaced allocation for a moment."""
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class SampleRatio:
    """Observed against expected units per variant, over epochs in which it had weight; `evalue` ≥ 1000 is an alarm.

    `variant` is the one whose tilt explains the data best, None without data.
    """

    evalue: float
    pvalue: float
    alarm: bool
    observed: dict[str, int]
    expected: dict[str, float]
    variant: str | None
    sentence: str


@dataclass(frozen=True)
class Leak:
    """Units of one variant in epochs that served it to nobody; `n_units` exceeds `limit`."""

    variant: str
    n_units: int
    limit: float
    sentence: str


def sample_ratio(trials: Mapping[tuple[int, str], int], served: Mapping[int, Mapping[str, int]]) -> SampleRatio:
    """The e-process over all epochs so far; call it whenever you like.

    Args:
        trials: (epoch, variant) → units first exposed there.
        served: epoch → variant → parts that the epoch served.

    Raises:
        InvalidInput: a count that is negative or not whole, an epoch whose parts are unknown or are not parts.
    """
    variants, n, weights = _tables(trials, served)
    counted = np.where(weights > 0, n, 0.0)
    observed, expected = counted.sum(axis=0), (counted.sum(axis=1, keepdims=True) * weights).sum(axis=0)
    if not observed.sum():
        return SampleRatio(1.0, 1.0, False, _whole(variants, observed), _real(variants, expected), None, _FINE)
    log_e, k = (float(log_evalue(counted, weights)), int(np.argmax(_best_tilt(counted, weights))))
    alarm = log_e >= math.log(ALARM)
    return SampleRatio(
        evalue=math.exp(min(log_e, _LARGEST_LOG)),
        pvalue=math.exp(-max(log_e, 0.0)),
        alarm=alarm,
        observed=_whole(variants, observed),
        expected=_real(variants, expected),
        variant=variants[k],
        sentence=_alarm(variants[k], observed[k], expected[k]) if alarm else _FINE,
    )


def log_evalue(n: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """(…) ln of the mixture over one-variant tilts, from units and served shares (…, E, K), shares adding up to 1.

    Tilting variant k by 1 + δ makes the likelihood ratio of an epoch (1 + δ)^n_ek / (1 + δw_ek)^N_e.
    """
    ratios = _log_ratios(np.asarray(n, float), np.asarray(weights, float))
    size = (np.asarray(weights) > 0).any(axis=-2).sum(axis=-1) * len(TILTS)
    mixed: Floats = logsumexp(ratios, axis=(-2, -1)) - np.log(np.maximum(size, 1))
    return mixed


def find_leaks(trials: Mapping[tuple[int, str], int], served: Mapping[int, Mapping[str, int]]) -> tuple[Leak, ...]:
    """Variants seen by more than max(5, N/10,000) units while they had no weight; N is all units of those epochs.

    Hand in exposures whose event named its epoch: for others "the epoch in force" is a guess.

    Raises:
        InvalidInput: as `sample_ratio`.
    """
    variants, n, weights = _tables(trials, served)
    off = weights == 0
    leaked, traffic = np.where(off, n, 0.0).sum(axis=0), (off * n.sum(axis=1, keepdims=True)).sum(axis=0)
    limits = np.maximum(LEAST_LEAK, LEAK_SHARE * traffic)
    return tuple(
        Leak(
            variant,
            int(leaked[k]),
            float(limits[k]),
            f"{variant} was shown to {leaked[k]:,.0f} units in epochs that gave it no traffic.",
        )
        for k, variant in enumerate(variants)
        if leaked[k] > limits[k]
    )


_FINE = "Traffic splits as it was served."


def _alarm(variant: str, seen: float, wanted: float) -> str:
    return (
        f"Traffic does not split as it was served: {variant} has {seen:,.0f} units where {wanted:,.0f} were expected, "
        "so no comparison can be trusted."
    )


def _log_ratios(n: Floats, weights: Floats) -> Floats:
    """(…, K, tilts) log likelihood ratios; −inf for a variant that never had weight, which no tilt can change."""
    traffic = n.sum(axis=-1, keepdims=True)
    ever = np.asarray((weights > 0).any(axis=-2))
    columns = [
        n.sum(axis=-2) * math.log1p(tilt) - (traffic * np.log1p(tilt * weights)).sum(axis=-2) for tilt in TILTS
    ]
    ratios: Floats = np.where(ever[..., None], np.stack(columns, axis=-1), -np.inf)
    return ratios


def _best_tilt(n: Floats, weights: Floats) -> Floats:
    best: Floats = _log_ratios(n, weights).max(axis=-1)
    return best


def _tables(
    trials: Mapping[tuple[int, str], int], served: Mapping[int, Mapping[str, int]]
) -> tuple[list[str], Floats, Floats]:
    """Variants sorted by id, units and served shares, both (E, K)."""
    variants = sorted({variant for _, variant in trials} | {v for parts in served.values() for v in parts})
    row = {epoch: e for e, epoch in enumerate(sorted({epoch for epoch, _ in trials}))}
    n, weights = np.zeros((len(row), len(variants))), np.zeros((len(row), len(variants)))
    for epoch, e in row.items():
        weights[e] = _weights(epoch, variants, served)
    for (epoch, variant), count in trials.items():
        n[row[epoch], variants.index(variant)] = check_count("trials", count, variant=variant)
    return variants, n, weights


def _weights(epoch: int, variants: list[str], served: Mapping[int, Mapping[str, int]]) -> list[float]:
    if epoch not in served:
        raise InvalidInput(f"served has no parts of epoch {epoch}.", field="served", value=epoch)
    parts = {variant: check_count("served", part, variant=variant) for variant, part in served[epoch].items()}
    if (total := sum(parts.values())) != PARTS:
        raise InvalidInput(
            f"served of epoch {epoch} adds up to {total:,} parts, not to {PARTS:,}.", field="served", value=total
        )
    return [parts.get(variant, 0) / PARTS for variant in variants]


def _whole(variants: list[str], values: Floats) -> dict[str, int]:
    return {variant: int(value) for variant, value in zip(variants, values, strict=True)}


def _real(variants: list[str], values: Floats) -> dict[str, float]:
    return dict(zip(variants, values.tolist(), strict=True))
