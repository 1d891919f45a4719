"""How many units a fixed-horizon comparison needs; what an A/B test is planned with."""

from __future__ import annotations

import math

from scipy.special import ndtri

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_finite, check_positive, check_share


def sample_size_for_rates(base: float, effect_size: float, *, alpha: float = .05, power: float = .80) -> int:
    """Units per group, two of equal size, for a rate of `base` to be told from `base + effect_size` by the z test.

    Fleiss (1981), without continuity correction: the variance under no effect is that of the mean rate.

    Raises:
        InvalidInput: `base` or `base + effect_size` outside (0, 1), an effect of 0, `alpha` or `power` outside (0, 1).
    """
    p_0 = check_share("base", base)
    p_1 = check_share("base + effect_size", p_0 + _effect(effect_size))
    null, power_z = _quantiles(alpha, power)
    mean = (p_0 + p_1) / 2
    root = null * math.sqrt(2 * mean * (1 - mean)) + power_z * math.sqrt(p_0 * (1 - p_0) + p_1 * (1 - p_1))
    return math.ceil((root / (p_1 - p_0)) ** 2)


def sample_size_for_means(sd: float, effect_size: float, *, alpha: float = .05, power: float = .80) -> int:
    """Units per group, two of equal size, for a difference of `effect_size` in a metric of standard deviation `sd`.

    Raises:
        InvalidInput: `sd` not above 0, an effect of 0, `alpha` or `power` outside (0, 1).
    """
    null, power_z = _quantiles(alpha, power)
    return math.ceil(2 * ((null + power_z) * check_positive("sd", sd) / _effect(effect_size)) ** 2)


def _quantiles(alpha: float, power: float) -> tuple[float, float]:
    return float(-ndtri(check_share("alpha", alpha) / 2)), float(ndtri(check_share("power", power)))


def _effect(effect_size: float) -> float:
    if check_finite("effect_size", effect_size) == 0:
        raise InvalidInput("effect_size is 0: no number of units shows that.", field="effect_size", value=effect_size)
    return float(effect_size)
