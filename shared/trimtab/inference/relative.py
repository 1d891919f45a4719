"""Relative lift: the r for which ȳ_k − (1 + r)ȳ_0 is compatible with nothing, by inverting the test (Fieller)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trimtab.inference.looks import Looks

Floats = npt.NDArray[np.float64]

_FARTHEST = 1e6  # a lift beyond a million-fold is no bound
_HALVINGS = 70  # from a million down to a double's last digits


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
    near, far = np.stack([centre, centre]), np.stack([np.full_like(centre, -_FARTHEST), np.full_like(centre, _FARTHEST)])

    def inside(r: Floats) -> npt.NDArray[np.bool_]:
        variance = now.variance + np.maximum(0, (1 + r) ** 2 - 1) * now.base_variance
        within: npt.NDArray[np.bool_] = np.abs(now.score - r * now.base) <= radius(variance)
        return within

    endless, sides = inside(far), np.sign(far)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        within = inside(middle)
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    below, above = np.where(endless, sides * np.inf, near)
    return below, above
