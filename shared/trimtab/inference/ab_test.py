"""An A/B test's analysis: the right test per metric, effects with intervals, a winner, one plain sentence.

The primary metric decides; all others are reported beside it. A p-value of a fixed horizon is only honest where one
look was promised; everyone else gets the always-valid one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import InvalidInput
from trimtab.inference.checks import check_count, check_share
from trimtab.inference.comparison import Comparison
from trimtab.inference.pairs import Pair, check_sums, pair_of
from trimtab.inference.recommendation import advise
from trimtab.inference.sample_ratio import SampleRatio
from trimtab.inference.sequential import Claim
from trimtab.inference.two_groups import FixedTest, fixed_test
from trimtab.schema.experiment import Metric

if TYPE_CHECKING:
    from trimtab.engine import Cells

DEFAULT_MIN_SAMPLE = 100
ALWAYS_VALID = "always-valid mixture test"


@dataclass(frozen=True)
class Measured:
    """One metric and its sums."""

    metric: Metric
    cells: Cells


@dataclass(frozen=True)
class Group:
    """One variant's units and mean of one metric, in its unit; the mean is None without units."""

    variant: str
    n_units: int
    mean: float | None


@dataclass(frozen=True)
class ABResult:
    """What an A/B test says; `winner` is a variant, or None where there is none."""

    control: str
    groups: dict[str, tuple[Group, ...]]
    comparisons: tuple[Comparison, ...]
    enough: bool
    winner: str | None
    recommendation: str

    def of(self, metric: str, treatment: str) -> Comparison:
        """The comparison of one treatment by one metric.

        Raises:
            InvalidInput: there is none.
        """
        for comparison in self.comparisons:
            if (comparison.metric, comparison.treatment) == (metric, treatment):
                return comparison
        raise InvalidInput(
            f"There is no comparison of {treatment!r} by {metric!r}.", field="metric", variant=treatment, value=metric
        )


def analyze_ab(
    measured: Sequence[Measured],
    control: str,
    *,
    min_sample: int = DEFAULT_MIN_SAMPLE,
    alpha: float = .05,
    one_look: bool = False,
    claims: Mapping[tuple[str, str], Claim] | None = None,
    sample_ratio: SampleRatio | None = None,
) -> ABResult:
    """Analyse an A/B test.

    Args:
        measured: the metrics; the primary one decides, else the first. All over the same variants.
        min_sample: units of the primary metric that each group needs before anything is called.
        alpha: two-sided level per metric, shared out among the treatments (Bonferroni).
        one_look: whether this is the only time anyone looks; then p-values are the fixed-horizon ones.
        claims: otherwise, (metric, treatment) → the last recorded `look`; missing ones claim nothing.
        sample_ratio: if it alarms, nothing is recommended.

    Raises:
        InvalidInput: no metrics, fewer than two variants, an unknown control, or sums no such metric has.
    """
    primary = _primary(measured)
    check_count("min_sample", min_sample, least=1)
    treatments = _treatments(measured, control)
    level = check_share("alpha", alpha) / len(treatments)
    known = claims or {}
    comparisons = tuple(
        _compare(one, control, treatment, level, known.get((one.metric.name, treatment)), one_look=one_look)
        for one in measured
        for treatment in treatments
    )
    groups = {one.metric.name: _groups(one.cells) for one in measured}
    fewest = min(group.n_units for group in groups[primary.name])
    winner, sentence = advise(
        primary, control, comparisons, fewest=fewest, min_sample=min_sample, sample_ratio=sample_ratio
    )
    return ABResult(control, groups, comparisons, fewest >= min_sample, winner, sentence)


def _primary(measured: Sequence[Measured]) -> Metric:
    if not measured:
        raise InvalidInput("measured: there is no metric.", field="measured", value=())
    return next((one.metric for one in measured if one.metric.primary), measured[0].metric)


def _treatments(measured: Sequence[Measured], control: str) -> list[str]:
    variants = measured[0].cells.variants
    for one in measured:
        if one.cells.variants != variants:
            raise InvalidInput(
                f"Metric {one.metric.name!r} is measured on {one.cells.variants}, the first one on {variants}.",
                field="variants",
                value=one.cells.variants,
            )
        check_sums(one.cells, one.metric.kind, variants)
    if control not in variants:
        raise InvalidInput(
            f"control {control!r} is not one of the variants {', '.join(variants)}.",
            field="control",
            variant=control,
            value=control,
        )
    if len(variants) < 2:
        raise InvalidInput("An A/B test needs a treatment beside control.", field="variants", value=variants)
    return [variant for variant in variants if variant != control]


def _groups(cells: Cells) -> tuple[Group, ...]:
    columns = zip(cells.variants, cells.trials, cells.totals, strict=True)
    return tuple(Group(variant, n, total / n if n else None) for variant, n, total in columns)


def _compare(
    one: Measured, control: str, treatment: str, alpha: float, claim: Claim | None, *, one_look: bool
) -> Comparison:
    pair = pair_of(one.cells, one.metric.kind, control, treatment)
    if one_look:
        return _fixed(one.metric, treatment, pair, fixed_test(pair, one.metric.kind, alpha), alpha)
    said = claim or Claim(alpha)
    effect = said.effect_size if said.enough else _effect(pair)
    return Comparison(
        metric=one.metric.name,
        treatment=treatment,
        method=ALWAYS_VALID,
        pvalue=said.pvalue,
        alpha=said.alpha,
        significant=said.significant and not said.effect_changes,
        better=_better(one.metric, effect),
        effect_size=effect,
        effect_size_ci_lower=said.effect_size_ci_lower,
        effect_size_ci_upper=said.effect_size_ci_upper,
        rel_effect_size=said.rel_effect_size if said.enough else _relative(pair),
        rel_effect_size_ci_lower=said.rel_effect_size_ci_lower,
        rel_effect_size_ci_upper=said.rel_effect_size_ci_upper,
        enough=said.enough,
        effect_changes=said.effect_changes,
    )


def _fixed(metric: Metric, treatment: str, pair: Pair, found: FixedTest | None, alpha: float) -> Comparison:
    effect = _effect(pair)
    return Comparison(
        metric=metric.name,
        treatment=treatment,
        method=found.method if found else "none: the groups never met",
        pvalue=found.pvalue if found else 1.0,
        alpha=alpha,
        significant=found is not None and found.pvalue < alpha,
        better=_better(metric, effect),
        effect_size=effect,
        effect_size_ci_lower=found.ci_lower if found else None,
        effect_size_ci_upper=found.ci_upper if found else None,
        rel_effect_size=_relative(pair),
        rel_effect_size_ci_lower=found.rel_ci_lower if found else None,
        rel_effect_size_ci_upper=found.rel_ci_upper if found else None,
        enough=found is not None,
    )


def _effect(pair: Pair) -> float | None:
    weight = float(pair.harmonic.sum())
    return float(pair.score.sum()) / weight if weight > 0 else None


def _relative(pair: Pair) -> float | None:
    base = float((pair.harmonic * pair.mean_0).sum())
    return float(pair.score.sum()) / base if base > 0 else None


def _better(metric: Metric, effect: float | None) -> bool | None:
    if not effect:
        return None
    return (effect > 0) == (metric.direction == "increase")

