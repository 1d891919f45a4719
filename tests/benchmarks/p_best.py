"""P(best): quadrature against draws, and with levels in common"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.special import betainc, betaincinv, betaln, ndtri
from scipy.stats import qmc

from benchmarks.system import fastest
from trimtab.engine import Belief, Cells, estimate, probability_best_beta, probability_best_normal
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]

VARIANTS = tuple("abcde")
DRAWS = 10_000
EXPERIMENTS, JUDGED = 2_000, 12  # for the rate, and for the error: an exact answer takes a twentieth of a second
EPOCHS = (2, 5, 20, 50)


def measure() -> dict[str, float]:
    return _independent() | _correlated()


# ── independent variants: Beta posteriors of five ────────────────────────────────────────────────────────────────────


def _independent() -> dict[str, float]:
    """How much faster than 10,000 draws of each experiment, and by how much less wrong at the worst."""
    rng = np.random.default_rng(1)
    n = rng.integers(500, 20_000, (EXPERIMENTS, len(VARIANTS)))
    successes = rng.binomial(n, rng.uniform(.02, .12, (EXPERIMENTS, 1)) * rng.uniform(.9, 1.1, n.shape))
    alpha, beta = (successes + 1).astype(float), (n - successes + 1).astype(float)
    few = slice(0, 100)  # draws have no use for more at once
    exact = fastest(lambda: EXPERIMENTS / _seconds(lambda: probability_best_beta(alpha, beta)))
    drawn = fastest(lambda: 100 / _seconds(lambda: _by_draws(alpha[few], beta[few], rng)))
    judged = slice(0, JUDGED)
    truth = np.array([_truth(a, b) for a, b in zip(alpha[judged], beta[judged], strict=True)])
    error = np.abs(probability_best_beta(alpha[judged], beta[judged]) - truth).max()
    error_drawn = np.abs(_by_draws(alpha[judged], beta[judged], rng) - truth).max()
    return {
        "p_best_experiments_per_second": exact,
        "p_best_max_error": float(error),
        "p_best_speed_over_draws_ratio": exact / drawn,
        "p_best_error_of_draws_ratio": float(error_drawn / error),
    }


def _by_draws(alpha: Floats, beta: Floats, rng: np.random.Generator) -> Floats:
    """P(best) as most bandits find it: who is highest, how often."""
    size = alpha.shape[1]
    best = (rng.beta(a, b, (DRAWS, size)).argmax(axis=1) for a, b in zip(alpha, beta, strict=True))
    return np.array([np.bincount(who, minlength=size) / DRAWS for who in best])


def _truth(alpha: Floats, beta: Floats) -> Floats:
    """P(best) by adaptive quadrature of each variant's own integral, to 1e-12."""

    def of(k: int) -> float:
        others = np.delete(np.arange(len(alpha)), k)

        def integrand(x: float) -> float:
            density = np.exp((alpha[k] - 1) * np.log(x) + (beta[k] - 1) * np.log1p(-x) - betaln(alpha[k], beta[k]))
            return float(density * betainc(alpha[others], beta[others], x).prod())

        low, *middle, high = betaincinv(alpha[k], beta[k], [1e-15, .01, .25, .5, .75, .99, 1 - 1e-15])
        return float(quad(integrand, low, high, points=middle, epsabs=1e-13, epsrel=1e-13, limit=500)[0])

    return np.array([of(k) for k in range(len(alpha))])


# ── correlated variants: effects that share the levels of their epochs ───────────────────────────────────────────────


def _correlated() -> dict[str, float]:
    """Fits a second, from exact sums to P(best), one after another; and the largest error."""
    rng = np.random.default_rng(2)
    worlds = [_world(rng, epochs) for epochs in EPOCHS for _ in range(15)]
    judged = [_fit(cells) for cells in worlds[::5]]
    errors = [np.abs(belief.p_best - _reference(belief, seed)).max() for seed, belief in enumerate(judged)]
    rate = fastest(lambda: len(worlds) / _seconds(lambda: [_fit(cells).p_best for cells in worlds]))
    return {"correlated_fits_per_second": rate, "correlated_p_best_max_error": float(max(errors))}


def _world(rng: np.random.Generator, epochs: int) -> Cells:
    """Sums of `epochs` epochs under a drifting base rate, in shares from even to uneven."""
    effect, sums = rng.normal(0, .1, len(VARIANTS)), {}
    for epoch in range(epochs):
        share = rng.dirichlet(np.full(len(VARIANTS), rng.choice([.5, 2, 20])))
        for k, n in enumerate(rng.multinomial(int(rng.choice([1_000, 10_000])), share).tolist()):
            y = int(rng.binomial(n, 1 / (1 + np.exp(2.5 + .5 * np.sin(epoch) - effect[k]))))
            sums[epoch, VARIANTS[k]] = (n, y, y)
    return Cells.gather(VARIANTS, sums)


def _fit(cells: Cells) -> Belief:
    found = estimate(cells, MetricKind.BINARY)
    return Belief.of(found.theta, found.information, found.precision, found.prior_sd)


def _reference(belief: Belief, seed: int) -> Floats:
    """P(best) over 65,536 scrambled Sobol points along eigenvectors: good to a few millionths."""
    own, size = 1 / belief.precision, len(belief.theta)
    centre = np.eye(size) - np.outer(np.ones(size), belief.precision / belief.precision.sum())
    values, vectors = np.linalg.eigh(centre @ (belief.covariance - np.diag(own)) @ centre.T)
    loads = (vectors * np.sqrt(np.maximum(values, 0)))[:, :0:-1]
    points = np.clip(qmc.Sobol(size - 1, rng=seed).random_base2(16), 1e-12, 1 - 1e-12)
    found: Floats = probability_best_normal(belief.theta + ndtri(points) @ loads.T, np.sqrt(own)).mean(axis=0)
    return found


def _seconds(work: Callable[[], object]) -> float:
    """Of processor time, so that whatever else the machine does counts for less."""
    started = time.process_time()
    work()
    return time.process_time() - started
