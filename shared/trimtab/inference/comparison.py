"""What an A/B test says of one treatment and one metric."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """One treatment against control by one metric.

    Differences are treatment − control in the metric's unit, relative ones shares of control's mean; None where they
    cannot be told. `better` says which side the effect is on, given the metric's direction; None: neither.
    `enough`: the test has the least evidence it is valid with; without, `pvalue` is 1 because nothing was tested.
    `effect_changes`: no one effect explains all looks, so that none is significant.
    """

    metric: str
    treatment: str
    method: str
    pvalue: float
    alpha: float
    significant: bool
    better: bool | None
    effect_size: float | None
    effect_size_ci_lower: float | None
    effect_size_ci_upper: float | None
    rel_effect_size: float | None
    rel_effect_size_ci_lower: float | None
    rel_effect_size_ci_upper: float | None
    enough: bool = True
    effect_changes: bool = False
