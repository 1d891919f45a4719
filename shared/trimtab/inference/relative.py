"""Relative lift: the r for which ȳ_k − (1 + r)ȳ_0 is compatible with nothing, by inverting the test (Fieller)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trimtab.inference.looks import Looks

Floats = npt.NDArray[np.float64]

_STEPS = 2.0 ** np.arange(-24, 17)  # of 1 + |r̂|; beyond 65,000 times that a lift is no bound
_HALVINGS = 44  # within one step of the grid, down to a double's last digits


def relative_lift(now: Looks) -> Floats:
    """(…) r̂ = S/Σh_eȳ_e0, NaN where control's mean is not above 0; callers say None there."""
    lift: Floats = np.divide(now.score, now.base, out=np.full(np.shape(now.score), np.nan), where=now.base > 0)
    return lift


def relative_bounds(now: Looks, radius: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """(…) the least and greatest r with |S(r)| ≤ radius(V(r)), S(r) = Σh_e(ȳ_ek − (1 + r)ȳ_e0) = S − r·Σh_eȳ_e0.

    V(r) = V + max(0, (1 + r)² − 1)·(control's part of V): a control blown up by 1 + r is that much noisier. At r = 0
    the bounds and the test agree. −inf or inf where no r is far enough off: the control's mean may be 0.
    """
    centre = np.nan_to_num(relative_lift(now))

    def inside(r: Floats) -> npt.NDArray[np.bool_]:
        variance = now.variance + np.maximum(0, (1 + r) ** 2 - 1) * now.base_variance
        within: npt.NDArray[np.bool_] = np.abs(now.score - r * now.base) <= radius(variance)
        return within

    below, above = (_first_outside(inside, centre, side * (1 + np.abs(centre))) for side in (-1, 1))
    return below, above


def _first_outside(inside: Callable[[Floats], npt.NDArray[np.bool_]], centre: Floats, unit: Floats) -> Floats:
    """(…) where `inside` first ends on the way from `centre` in the direction of `unit`; ±inf where it does not.

    First, since at absurd r control's part of V grows faster than S(r)² and everything is inside again.
    """
    grid = np.stack([inside(centre + unit * step) for step in _STEPS])
    place, endless = np.argmin(grid, axis=0), grid.all(axis=0)
    near, far = centre + unit * np.where(place > 0, _STEPS[place - 1], 0.0), centre + unit * _STEPS[place]
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        within = inside(middle)
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    ends: Floats = np.where(endless, np.sign(unit) * np.inf, near)
    return ends
