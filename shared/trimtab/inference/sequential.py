"""The always-valid test of a treatment against control, one recorded look at a time (STATISTICS §4).

`plan_test` fixes, once, how the test is tuned; `look` is a step: the claim so far and the newest cells give the next
claim. Both are plain numbers, which the ledger keeps. Nothing is claimed before the minimum evidence is there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trimtab.inference.checks import check_count, check_not_negative, check_positive, check_share
from trimtab.inference.looks import Looks, looks
from trimtab.inference.mixture import log_evalue, radius, rho_for
from trimtab.inference.pairs import pair_of
from trimtab.inference.relative import relative_bounds, relative_lift
from trimtab.schema.experiment import Metric, MetricKind

if TYPE_CHECKING:
    from trimtab.engine import Cells

DEFAULT_PLANNED_UNITS = 20_000
"""Units of a pair whose experiment plans no size; a tenfold error widens intervals by about a fifth."""
_EARLY = .3  # tuned for the time when 30 % of the planned evidence is in: most decisions are made before the end
_LARGEST_LOG = 700.0  # exp() beyond it is infinite, and infinity is not JSON


@dataclass(frozen=True)
class SequentialPlan:
    """How a test is tuned; frozen before the first claim.

    `alpha` is the level of this one comparison, already divided among all; `rho` the mixture's ρ > 0, in the metric's
    unit squared.
    """

    alpha: float
    rho: float

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_positive("rho", self.rho)


@dataclass(frozen=True)
class Claim:
    """What may be said of treatment − control after `n_looks` recorded looks, at any of them and at all of them.

    `pvalue` is the least so far, `evalue` the current one (e-BH takes that). Bounds are the intersection of all
    intervals so far, 1 − α each and all together; None: unbounded or no claim yet. `effect_size` is S/H in the metric's
    unit, `rel_effect_size` a share of control's mean, None where that is not above 0.
    `effect_changes`: the intersection is empty, so that no one effect explains all looks; then bounds are the newest.
    """

    alpha: float
    n_looks: int = 0
    enough: bool = False
    pvalue: float = 1.0
    evalue: float = 1.0
    effect_size: float | None = None
    effect_size_ci_lower: float | None = None
    effect_size_ci_upper: float | None = None
    rel_effect_size: float | None = None
    rel_effect_size_ci_lower: float | None = None
    rel_effect_size_ci_upper: float | None = None
    effect_changes: bool = False

    @property
    def significant(self) -> bool:
        """Whether "no effect" is rejected, at this look or an earlier one."""
        return self.enough and self.pvalue <= self.alpha

    def favours_treatment(self, direction: str) -> bool:
        """Whether it is, with an effect whose better side is `direction`, "increase" or "decrease"."""
        if not self.significant or self.effect_changes or self.effect_size is None:
            return False
        # A rejection from the other side, at an earlier look, would have left no interval on this one.
        if direction == "increase":
            return self.effect_size > 0 and (self.effect_size_ci_upper is None or self.effect_size_ci_upper > 0)
        return self.effect_size < 0 and (self.effect_size_ci_lower is None or self.effect_size_ci_lower < 0)


def plan_test(
    cells: Cells,
    metric: Metric,
    control: str,
    treatment: str,
    *,
    alpha: float = .05,
    n_comparisons: int = 1,
    planned_units: int | None = None,
) -> SequentialPlan | None:
    """The plan of a pair, or None as long as the minimum evidence is missing.

    α' = alpha / n_comparisons and ρ is best at V* = .3·N·s²/4, s² = p(1 − p) or the variance within cells so far. That
    is read off the data when they first suffice, and then frozen: a ρ that follows the data would not be valid.

    Args:
        n_comparisons: K − 1 for Bonferroni over K variants.
        planned_units: N, units of this pair; default 20,000.

    Raises:
        InvalidInput: a number out of its range, an unknown variant, or sums no such metric has.
    """
    pair = pair_of(cells, metric.kind, control, treatment)
    level = check_share("alpha", alpha) / check_count("n_comparisons", n_comparisons, least=1)
    size = check_count("planned_units", planned_units or DEFAULT_PLANNED_UNITS, least=1)
    found = looks(pair, metric.kind).last
    if not found.evidence >= 1:
        return None
    variance = float(found.variance / found.weight)
    return SequentialPlan(level, rho_for(_EARLY * size * variance / 4, level)) if variance > 0 else None


def look(
    cells: Cells,
    metric: Metric,
    control: str,
    treatment: str,
    *,
    plan: SequentialPlan | None,
    before: Claim | None = None,
    alpha: float = .05,
) -> Claim:
    """The claim after one more look; record it, and hand it in as `before` at the next.

    Args:
        plan: None while `plan_test` gives None; the claim then is that nothing can be said.
        before: the last recorded claim of the same test; None at the first look.
        alpha: level shown while there is no plan.

    Raises:
        InvalidInput: an unknown variant, or sums no such metric has.
    """
    now = looks(pair_of(cells, metric.kind, control, treatment), metric.kind).last
    last = before or Claim(plan.alpha if plan else alpha)
    if plan is None or not now.evidence >= 1:
        return replace(last, n_looks=last.n_looks + 1)
    return advance(last, now, plan, bounded_below=metric.kind is not MetricKind.CONTINUOUS)


def advance(before: Claim, now: Looks, plan: SequentialPlan, *, bounded_below: bool = True) -> Claim:
    """The claim after the look `now`, whose evidence suffices; `bounded_below`: no value is negative."""
    log_e = float(log_evalue(now.score, now.variance, plan.rho))
    # V is the variance under no effect, which is what the test asks about. Where there is one, the variant with less
    # traffic may be far noisier than that: with V alone, an interval at weight .05 covers 2 % → 6 % in .78 of runs.
    steady = replace(now, variance=np.maximum(now.variance, now.own_variance))
    reach = float(radius(steady.variance, plan.rho, plan.alpha))
    centre, half = float(now.score / now.weight), reach / float(now.weight)
    lower, upper, empty = _narrowed(
        before.effect_size_ci_lower, before.effect_size_ci_upper, centre - half, centre + half, before.effect_changes
    )
    low, high = relative_bounds(steady, lambda variance: radius(variance, plan.rho, plan.alpha))
    rel_low = float(np.maximum(low, -1.0)) if bounded_below else float(low)
    rel = relative_lift(now)
    known = bool(now.base > 0)
    rel_lower, rel_upper, _ = _narrowed(
        before.rel_effect_size_ci_lower, before.rel_effect_size_ci_upper, rel_low, float(high), empty
    )
    return Claim(
        alpha=plan.alpha,
        n_looks=before.n_looks + 1,
        enough=True,
        pvalue=min(before.pvalue, math.exp(-max(log_e, 0.0))),
        evalue=math.exp(min(log_e, _LARGEST_LOG)),
        effect_size=centre,
        effect_size_ci_lower=lower,
        effect_size_ci_upper=upper,
        rel_effect_size=float(rel) if known else None,
        rel_effect_size_ci_lower=rel_lower if known else None,
        rel_effect_size_ci_upper=rel_upper if known else None,
        effect_changes=empty,
    )


def e_bh(evalues: Mapping[str, float], alpha: float = .05) -> frozenset[str]:
    """Treatments to call different from control with false discovery rate ≤ `alpha`, however the tests depend.

    The k largest e-values, k the greatest with e_(k) ≥ m/(αk) (Wang and Ramdas 2022). Takes current e-values, not the
    largest so far, and tests planned with `n_comparisons` 1.

    Raises:
        InvalidInput: an e-value that is negative or not finite.
    """
    check_share("alpha", alpha)
    ranked = sorted(evalues, key=lambda name: (-check_not_negative("evalue", evalues[name], variant=name), name))
    size = len(ranked)
    passing = [k for k, name in enumerate(ranked, 1) if evalues[name] * alpha * k >= size]
    return frozenset(ranked[: max(passing, default=0)])


def _narrowed(
    old_lower: float | None, old_upper: float | None, lower: float, upper: float, changed: bool
) -> tuple[float | None, float | None, bool]:
    """The intersection of two intervals and whether it is, or once was, empty; None is unbounded."""
    if not changed:
        both = (
            max(-math.inf if old_lower is None else old_lower, lower),
            min(math.inf if old_upper is None else old_upper, upper),
        )
        if both[0] <= both[1]:
            lower, upper = both
        else:
            changed = True
    return (lower if lower > -math.inf else None), (upper if upper < math.inf else None), changed
