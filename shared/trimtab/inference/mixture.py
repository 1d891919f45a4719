"""Normal mixtures: p-values and intervals that hold at every look, however often one looks.

exp(λS − λ²V/2) is a supermartingale for every λ; its average over λ ~ N(0, 1/ρ) is one too, so by Ville's inequality
it ever exceeds 1/α with probability at most α (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021).
All functions take and give arrays of any one shape.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import lambertw, log_ndtr

from trimtab.inference.checks import check_positive, check_share

Floats = npt.NDArray[np.float64]


def rho_for(variance: float, alpha: float) -> float:
    """ρ that makes the boundary narrowest at V = `variance`: V/(−W₋₁(−α²/e) − 1) (Howard et al. 2021, eq. 27).

    Raises:
        InvalidInput: `variance` is not above 0, or `alpha` not between 0 and 1.
    """
    check_positive("variance", variance)
    check_share("alpha", alpha)
    return variance / (-float(lambertw(-(alpha**2) / math.e, -1).real) - 1)


def log_evalue(score: npt.ArrayLike, variance: npt.ArrayLike, rho: float) -> Floats:
    """ln of √(ρ/(V + ρ))·exp(S²/2(V + ρ)): the evidence against no effect; its expectation under none is ≤ 1."""
    s, v = np.asarray(score, float), np.asarray(variance, float)
    found: Floats = s**2 / (2 * (v + rho)) - .5 * np.log1p(v / rho)
    return found


def one_sided_log_evalue(score: npt.ArrayLike, variance: npt.ArrayLike, rho: float) -> Floats:
    """ln of 2√(ρ/(V + ρ))·exp(S²/2(V + ρ))·Φ(S/√(V + ρ)): the mixture over λ > 0 alone."""
    s, v = np.asarray(score, float), np.asarray(variance, float)
    found: Floats = math.log(2) + log_evalue(s, v, rho) + log_ndtr(s / np.sqrt(v + rho))
    return found


def radius(variance: npt.ArrayLike, rho: float, alpha: float) -> Floats:
    """The |S| at which the e-value is 1/α: √((V + ρ)(ln((V + ρ)/ρ) + 2 ln(1/α)))."""
    v = np.asarray(variance, float)
    found: Floats = np.sqrt((v + rho) * (np.log1p(v / rho) - 2 * math.log(alpha)))
    return found
