"""Fisher's exact test, over one table or several: given each epoch's margins, successes are hypergeometric."""

from __future__ import annotations

import numpy as np

from trimtab.inference.pairs import Floats, Pair

_TIES = 1e-9  # tables as likely as the one seen, up to rounding, count as no more likely


def exact_pvalue(pair: Pair) -> float:
    """Two-sided p of a binary `pair` (E,): the probability of all totals of treatment successes no likelier than seen.

    With one epoch that is Fisher's exact test; with several the exact test of a common odds ratio of 1.
    """
    density, seen = np.ones(1), 0
    for e in np.flatnonzero(pair.met):
        n_0, n_1 = int(pair.n_0[e]), int(pair.n_1[e])
        hits_0, hits_1 = round(pair.mean_0[e] * n_0), round(pair.mean_1[e] * n_1)
        density = np.convolve(density, hypergeometric(n_0, n_1, hits_0 + hits_1))
        seen += hits_1 - max(0, hits_0 + hits_1 - n_0)
    return float(min(1.0, density[density <= density[seen] * (1 + _TIES)].sum()))


def hypergeometric(n_0: int, n_1: int, hits: int) -> Floats:
    """Probabilities of max(0, hits − n_0) … min(n_1, hits) successes among n_1 of n_0 + n_1 units, `hits` in all.

    By ratios of neighbours from one end, so that no factorial of a large number costs digits.
    """
    low, high = max(0, hits - n_0), min(n_1, hits)
    x = np.arange(low, high, dtype=float)
    steps = np.log((hits - x) * (n_1 - x)) - np.log((x + 1) * (n_0 - hits + x + 1))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(logs - logs.max())
    probabilities: Floats = weights / weights.sum()
    return probabilities
