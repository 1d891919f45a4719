"""The mixtures are what their formulas claim: averages of exp(λS − λ²V/2) over λ."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InvalidInput
from trimtab.inference.mixture import log_evalue, one_sided_log_evalue, radius, rho_for

scores = st.floats(-20, 20)
variances = st.floats(1, 200)


def mixed(score: float, variance: float, rho: float, *, one_sided: bool) -> float:
    """∫ exp(λS − λ²V/2) dN(0, 1/ρ)(λ), over λ > 0 with density 2φ if one-sided; trapezoid around the peak."""
    peak, sd = score / (variance + rho), 1 / math.sqrt(variance + rho)
    start = max(0.0, peak - 12 * sd) if one_sided else peak - 12 * sd
    grid = np.linspace(start, max(peak, start) + 12 * sd, 20_001)
    density = np.exp(grid * score - grid**2 * (variance + rho) / 2) * math.sqrt(rho / (2 * math.pi))
    return (2 if one_sided else 1) * float(np.trapezoid(density, grid))


@given(scores, variances, st.floats(.5, 50))
def test_the_evalue_is_the_average_over_effects(score: float, variance: float, rho: float) -> None:
    assert math.exp(log_evalue(score, variance, rho)) == pytest.approx(
        mixed(score, variance, rho, one_sided=False), rel=1e-6
    )


@given(scores, variances, st.floats(.5, 50))
def test_the_one_sided_evalue_is_the_average_over_harm_alone(score: float, variance: float, rho: float) -> None:
    assert math.exp(one_sided_log_evalue(score, variance, rho)) == pytest.approx(
        mixed(score, variance, rho, one_sided=True), rel=1e-4
    )


@given(variances, st.floats(.5, 50), st.floats(.001, .2))
def test_at_the_radius_the_evalue_is_one_over_alpha(variance: float, rho: float, alpha: float) -> None:
    assert log_evalue(radius(variance, rho, alpha), variance, rho) == pytest.approx(-math.log(alpha), rel=1e-9)


@given(variances, st.floats(.001, .2))
def test_no_other_rho_gives_a_narrower_boundary_at_its_variance(variance: float, alpha: float) -> None:
    best = rho_for(variance, alpha)
    least = radius(variance, best, alpha)
    assert all(radius(variance, best * factor, alpha) >= least * (1 - 1e-12) for factor in (.1, .5, .9, 1.1, 2, 10))


@pytest.mark.parametrize(("variance", "alpha"), [(0.0, .05), (math.nan, .05), (1.0, 0.0), (1.0, 1.0)])
def test_no_rho_for_nonsense(variance: float, alpha: float) -> None:
    with pytest.raises(InvalidInput):
        rho_for(variance, alpha)
