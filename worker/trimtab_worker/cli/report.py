"""`report`: what may be claimed of an experiment, in tables, as JSON, or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab_worker.cli import options, render, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trimtab_worker.services.report import MetricReport, Report, TreatmentReport

_ENTRIES = 10_000  # of the ledger, for the picture: a week of decisions, one a minute


def report(
    experiment: options.ExperimentId,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw it into this file, FILE.png or FILE.html.")
    ] = None,
    absolute_margin: Annotated[
        float | None,
        typer.Option(help="Least difference that matters, in the primary metric's unit; default: the experiment's."),
    ] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Say what may be claimed, with advice on each treatment.

    Effects with intervals, claims that hold however often one looks, P(best), what either choice may cost, and whether
    units split as the weights say. Reading it is no look: only recomputes record one.
    """
    from trimtab.errors import require
    from trimtab_worker.services.report import report as make

    if plot is not None:
        require("matplotlib", extra="plot")  # before the work, not after
    services = session.services()
    current = services.control(by="").show(experiment)
    thresholds = current.experiment.thresholds
    if absolute_margin is not None:
        margin = {"min_practical_effect": absolute_margin, "min_relative_effect": 0.0}
        thresholds = thresholds.parse({**thresholds.model_dump(), **margin})
    found = make(services.partition_of(experiment), current, thresholds)
    if plot is not None:
        from trimtab_worker.cli.report_picture import draw_report

        draw_report(found, services.publications.ledger(experiment, _ENTRIES), plot)
    if json:
        render.show_json(found.document())
        return
    render.show(*_picture(found))
    if plot is not None:
        render.say(f"Drawn into {plot}.")


def _picture(found: Report) -> list[RenderableType]:
    head = (
        f"{found.experiment_id} · {found.status} · {found.strategy} · one trial is "
        f"{'a unit' if found.unit == 'unit' else 'an event'} · {found.epochs:,} epochs · "
        f"up to {render.instant(found.data_until)}"
    )
    things: list[RenderableType] = [render.text(head, "dim"), render.text(found.sentence, "bold")]
    for metric in found.metrics:
        things += [_table(metric, found.control), *_advice(metric, found.sentence)]
    things += [render.text(f"· {line}") for line in _remarks(found)]
    return things


def _table(metric: MetricReport, control: str) -> Any:
    """A row of two lines for each treatment, so that a hundred columns are enough."""
    better = "higher" if metric.direction == "increase" else "lower"
    primary = ", primary" if metric.primary else ""
    effect, interval = "effect\nrelative", "95 % interval\nalways valid"
    right = ("units", "mean", effect, interval, "p", "P(best)", "loss")
    grid = render.table("variant", *right, "advice", title=f"{metric.name} ({better} is better{primary})", right=right)
    grid.collapse_padding = True
    units = {group.variant: group.n_units for group in metric.groups}
    grid.add_row(
        control if control == "control" else f"{control} (control)",
        f"{units[control]:,}",
        _number(metric.means[control]),
        *["–"] * 3,
        render.probability(metric.p_best[control]),
        "–",
        "",
    )
    for found in metric.treatments:
        grid.add_row(*_row(metric, found, units[found.treatment]))
    return grid


def _row(metric: MetricReport, found: TreatmentReport, units: int) -> list[str]:
    recommendation = found.recommendation
    claim = recommendation.claim
    said = claim if claim is not None and claim.enough else None
    relative = "–" if found.rel_effect_size is None else f"{100 * found.rel_effect_size:+.3g} %"
    return [
        found.treatment,
        f"{units:,}",
        _number(metric.means[found.treatment]),
        f"{_number(found.effect.effect_size, signed=True)}\n{relative}",
        f"{_interval(found.effect)}\n{'–' if said is None else _interval(said)}",
        "\n–" if said is None else f"\n{_pvalue(said.pvalue)}",
        render.probability(metric.p_best[found.treatment]),
        f"{recommendation.assessment.expected_loss:.2g}",
        recommendation.advice.value,
    ]


def _advice(metric: MetricReport, already_said: str) -> list[RenderableType]:
    """Why, for each treatment by the primary metric; by the others the table says it."""
    sentences = dict.fromkeys(found.recommendation.sentence for found in metric.treatments if metric.primary)
    return [render.text(line) for line in sentences if line != already_said]


def _remarks(found: Report) -> list[str]:
    """What all of it rests on: the split, what a mean and a loss are, and the report's own notes."""
    remarks = []
    if found.sample_ratio is not None and not found.sample_ratio.alarm:
        ratio = found.sample_ratio
        counts = "; ".join(
            f"{variant} {n:,} of {ratio.expected[variant]:,.0f} expected" for variant, n in ratio.observed.items()
        )
        unknown = "No unit has named its epoch: the split is unknown."
        remarks.append(f"{ratio.sentence} {counts}." if ratio.variant is not None else unknown)
    remarks.append(
        "Means are as if all variants had met the same epochs. The second interval and p are always valid: they hold "
        "however often one looks. Loss is what serving the variant to everybody may cost on average."
    )
    left = found.primary.remaining
    if left is not None:
        much = f"{_number(left.value)}" if left.rel_value is None else f"{100 * left.rel_value:.2g} %"
        remarks.append(
            f"With probability {left.level:.0%} no variant beats {left.leader} in {found.primary.name} "
            f"by more than {much}: so much is going on still worth."
        )
    covered = [
        f"{each.treatment} by {metric.name} {render.percent(each.effect.share_covered)}"
        for metric in found.metrics
        for each in metric.treatments
        if 0 < each.effect.share_covered < .995
    ]
    if covered:
        remarks.append(f"Share of units in epochs that could be compared: {', '.join(covered)}.")
    return [*remarks, *found.notes]


def _interval(found: Any) -> str:
    """An interval of anything that has one; open where it is unbounded."""
    low, high = found.effect_size_ci_lower, found.effect_size_ci_upper
    return f"{_number(low, signed=True)} … {_number(high, signed=True)}" if (low, high) != (None, None) else "–"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:+.3g}" if signed else f"{value:.4g}"


def _pvalue(pvalue: float) -> str:
    return "<.001" if pvalue < .001 else f"{pvalue:.3f}".replace("0.", ".")
