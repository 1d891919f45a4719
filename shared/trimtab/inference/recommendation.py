"""One plain sentence from an A/B test's comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.inference.comparison import Comparison
from trimtab.inference.looks import LEAST_EVENTS, LEAST_UNITS
from trimtab.inference.sample_ratio import SampleRatio
from trimtab.schema.experiment import Metric, MetricKind


def advise(
    primary: Metric,
    control: str,
    comparisons: Sequence[Comparison],
    *,
    fewest: int,
    min_sample: int,
    sample_ratio: SampleRatio | None,
) -> tuple[str | None, str]:
    """The winner, if there is one, and the recommendation.

    Control wins only if every treatment is significantly worse; a treatment wins if it is significantly better, and of
    several the one with the largest effect.
    """
    if fewest < min_sample:
        return None, f"Insufficient data (need {min_sample:,} per group): the smallest group has {fewest:,}."
    if sample_ratio is not None and sample_ratio.alarm:
        return None, f"Do not decide on these data. {sample_ratio.sentence}"
    name = primary.name
    deciding = [c for c in comparisons if c.metric == name]
    better = [c for c in deciding if c.significant and c.better]
    if better:
        best = max(better, key=lambda c: abs(c.effect_size or 0.0))
        return best.treatment, f"Ship {best.treatment}: {name} is {_size(best)} better{_but(best, comparisons)}."
    worse = [c for c in deciding if c.significant and c.better is False]
    if len(worse) == len(deciding):
        worst = min(worse, key=lambda c: abs(c.effect_size or 0.0))
        with_it = "with every treatment" if len(worse) > 1 else f"with {worst.treatment}"
        return control, f"Keep control {control}: {name} is {_size(worst)} worse {with_it}."
    return None, _no_winner(primary, deciding)


def _no_winner(primary: Metric, deciding: Sequence[Comparison]) -> str:
    changing = [c.treatment for c in deciding if c.effect_changes]
    if changing:
        return f"No difference in {primary.name} can be claimed: the effect of {', '.join(changing)} changes over time."
    tested = [c for c in deciding if c.enough]
    if tested:
        closest = min(tested, key=lambda c: c.pvalue)
        return f"No significant difference in {primary.name} ({pvalue_text(closest.pvalue)})."
    least = (
        f"{LEAST_EVENTS:.0f} of the rarer outcome in the smaller group"
        if primary.kind is MetricKind.BINARY
        else f"{LEAST_UNITS:.0f} units in each group"
    )
    return f"No difference in {primary.name} can be claimed yet: its test takes at least {least}."


def pvalue_text(pvalue: float) -> str:
    """`p = .031`; `p < .001` rather than a 0 it is not."""
    return "p < .001" if pvalue < .001 else f"p = {pvalue:.3f}".replace("0.", ".")


def _size(found: Comparison) -> str:
    relative = found.rel_effect_size
    amount = f"{100 * abs(relative):.3g} %" if relative is not None else f"{abs(found.effect_size or 0.0):.4g}"
    return f"{amount} ({pvalue_text(found.pvalue)})"


def _but(best: Comparison, comparisons: Sequence[Comparison]) -> str:
    """What the winner is significantly worse at."""
    others = [c for c in comparisons if c.treatment == best.treatment and c.significant and c.better is False]
    return f", though {' and '.join(c.metric for c in others)} is worse" if others else ""
