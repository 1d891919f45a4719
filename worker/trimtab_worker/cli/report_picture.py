"""The report as a picture: means with intervals; weights and P(best) over time with every decision beneath them.

Pure: a report and ledger entries in, a file out. It needs the extra `plot`.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.schema.base import PARTS
from trimtab.schema.decision import Act, Decision, LedgerEntry, Outcome
from trimtab.simulation.canvas import COLOURS, GREY, PALE, new_figure, percent, save, tidy, unwritable
from trimtab_worker.cli.render import probability
from trimtab_worker.services.report import MetricReport, Report, TreatmentReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 16  # variants with a row of their own; of more, those that may be best
_SECOND = 1000  # milliseconds; what was decided last is drawn for at least as long
_ROWS = ("moves", "holds", "halts", "orders")
_ROW_COLOURS = dict(zip(_ROWS, ("#0072B2", PALE, "#D55E00", "#000000"), strict=True))


def draw_report(report: Report, entries: Sequence[LedgerEntry], file: Path) -> None:
    """Draw the primary metric and the ledger's `entries`, newest first; `.html` gives a page, else a picture.

    Raises:
        MissingExtra: matplotlib is not installed.
        InvalidInput: the file cannot be written.
    """
    shown = _shown(report)
    figure = _figure(report, list(reversed(entries)), shown)
    if file.suffix.lower() not in (".html", ".htm"):
        save(figure, file)
        return
    try:
        file.write_text(_page(report, figure), encoding="utf-8")
    except OSError as error:
        raise unwritable(file, error) from error


def _shown(report: Report) -> list[str]:
    """Control, then treatments by id; of too many, those that are most likely the best."""
    treatments = sorted(found.treatment for found in report.primary.treatments)
    best = sorted(treatments, key=lambda variant: -report.primary.p_best[variant])[: _MOST - 1]
    return [report.control, *(variant for variant in treatments if variant in best)]


def _figure(report: Report, entries: list[LedgerEntry], shown: list[str]) -> Figure:
    top = 1.1 + .32 * len(shown)
    figure = new_figure(10.5, top + 6.2)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(top, 5.7))[:, 0]
    means, best = upper.subplots(1, 2, sharey=True, width_ratios=(3, 1.25))
    weights, chances, marks = lower.subplots(3, 1, sharex=True, height_ratios=(3.1, 2, 1.1))
    colours = _colours(report, shown)
    _draw_means(means, report.primary, report.control, shown, colours)
    _draw_p_best(best, report.primary, shown, colours)
    _draw_weights(weights, report, entries, shown, colours)
    _draw_chances(chances, entries, shown, colours)
    _draw_marks(marks, entries)
    figure.suptitle(
        f"{report.experiment_id}: {report.sentence}",
        x=.01,
        ha="left",
        fontsize=11,
        fontweight="bold",
        wrap=True,
        parse_math=False,
    )
    return figure


def _colours(report: Report, shown: list[str]) -> dict[str, str]:
    """One colour each; of more variants than colours, only control and the likeliest best have one."""
    others = shown[1:]
    if len(others) <= len(COLOURS) - 1:
        return {report.control: GREY, **dict(zip(others, COLOURS, strict=False))}
    best = max(shown, key=report.primary.p_best.__getitem__)
    return {**dict.fromkeys(others, PALE), best: COLOURS[0], report.control: GREY}


def _draw_means(
    axes: Axes, metric: MetricReport, control: str, shown: list[str], colours: dict[str, str]
) -> None:
    base = metric.means[control]
    found = {each.treatment: each for each in metric.treatments}
    if base is not None:
        axes.axvline(base, color=GREY, linewidth=1, linestyle="--", zorder=1)
        axes.plot([base], [0], "o", color=colours[control], markersize=6)
    else:
        axes.set_xticks([])
    for row, variant in enumerate(shown):
        mean = metric.means[variant]
        if mean is None or base is None:
            said = "no outcomes yet" if _units(metric, variant) == 0 else "never met control"
            axes.annotate(said, (.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=GREY)
        elif variant != control:
            _interval(axes, row, base, mean, found[variant], colours[variant])
    _rows(axes, metric, control, shown)
    better = "higher" if metric.direction == "increase" else "lower"
    tidy(axes, f"{metric.name}: means and intervals ({better} is better)")
    axes.grid(visible=False)
    axes.grid(axis="x", color="#E4E4E4", linewidth=.8)
    axes.set_xlabel(
        "mean as if all had met the same epochs; thick: 95 % of the difference from control, thin: always valid",
        fontsize=8,
    )
    if base is not None:
        axes.locator_params(axis="x", nbins=7)


def _interval(axes: Axes, row: int, base: float, mean: float, found: TreatmentReport, colour: str) -> None:
    """A point at the mean, a thick line for one look and a thin one for all of them, about control's mean."""
    claim, effect = found.recommendation.claim, found.effect
    if claim is not None and claim.effect_size_ci_lower is not None and claim.effect_size_ci_upper is not None:
        ends = [base + claim.effect_size_ci_lower, base + claim.effect_size_ci_upper]
        axes.plot(ends, [row, row], color=colour, linewidth=1.2, marker="|", markersize=7, zorder=2)
    if effect.effect_size_ci_lower is not None and effect.effect_size_ci_upper is not None:
        ends = [base + effect.effect_size_ci_lower, base + effect.effect_size_ci_upper]
        axes.plot(ends, [row, row], color=colour, linewidth=4, alpha=.55, solid_capstyle="butt", zorder=3)
    axes.plot([mean], [row], "o", color=colour, markersize=6, zorder=4)


def _rows(axes: Axes, metric: MetricReport, control: str, shown: list[str]) -> None:
    names = [control if control == "control" else f"{control} (control)", *shown[1:]]
    axes.set_yticks(range(len(shown)), names, fontsize=9)
    axes.set_ylim(len(shown) - .4, -.6)
    axes.tick_params(axis="y", length=0)
    left_out = len(metric.groups) - len(shown)
    if left_out > 0:
        axes.set_ylabel(f"{left_out} less likely ones are left out", fontsize=8, color=GREY)


def _draw_p_best(axes: Axes, metric: MetricReport, shown: list[str], colours: dict[str, str]) -> None:
    for row, variant in enumerate(shown):
        p = metric.p_best[variant]
        axes.barh(row, p, height=.55, color=colours[variant])
        inside = p > .75
        axes.annotate(
            probability(p),
            (p, row),
            xytext=(-4 if inside else 4, 0),
            textcoords="offset points",
            ha="right" if inside else "left",
            va="center",
            fontsize=8,
            color="white" if inside else "black",
        )
    tidy(axes, "P(best)")
    axes.grid(visible=False)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(percent())
    axes.tick_params(axis="y", length=0, labelleft=False)


def _draw_weights(
    axes: Axes, report: Report, entries: list[LedgerEntry], shown: list[str], colours: dict[str, str]
) -> None:
    end = max([report.data_until, *(entry.decided_at + _SECOND for entry in entries)])
    times = _instants([*(_begin(entry) for entry in entries), end])
    # Control and the likeliest best lie on top of the others.
    last = max(shown, key=report.primary.p_best.__getitem__)
    for variant in sorted(shown, key=lambda each: (each == last, each == report.control)) if entries else ():
        shares = [entry.parts.get(variant, 0) / PARTS for entry in entries]
        axes.plot(
            times[: len(shares) + 1],
            [*shares, *shares[-1:]],
            color=colours[variant],
            drawstyle="steps-post",
            linewidth=2.2 if variant in (last, report.control) else 1.5,
            linestyle="--" if variant == report.control else "-",
        )
    tidy(axes, "Weights, as published")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(percent())
    if not entries:
        axes.annotate("nothing was published yet", (.5, .5), xycoords="axes fraction", ha="center", color=GREY)
        axes.set_xticks([])
    else:
        axes.set_xlim(_instants([_begin(entries[0]), end]).tolist())
    _legend(axes, report, shown, colours)


def _draw_chances(axes: Axes, entries: list[LedgerEntry], shown: list[str], colours: dict[str, str]) -> None:
    """P(best) as each decision had it; of a run of holds the ledger keeps the last."""
    decisions = [entry for entry in entries if isinstance(entry, Decision)]
    for variant in shown:
        seen = [entry for entry in decisions if variant in entry.posterior]
        axes.plot(
            _instants([entry.decided_at for entry in seen]),
            [entry.posterior[variant].p_best for entry in seen],
            color=colours[variant],
            linewidth=1.2,
            marker=".",
            markersize=4,
        )
    tidy(axes, "P(best), at each decision")
    axes.set_ylim(-.03, 1.03)
    axes.yaxis.set_major_formatter(percent())


def _legend(axes: Axes, report: Report, shown: list[str], colours: dict[str, str]) -> None:
    """Variants that have a colour of their own, beside the lines."""
    from matplotlib.lines import Line2D

    named = [variant for variant in shown if colours[variant] != PALE]
    lines = [Line2D([], [], color=colours[v], linestyle="--" if v == report.control else "-", lw=2) for v in named]
    names = list(named)
    if len(named) < len(shown):
        lines.append(Line2D([], [], color=PALE, lw=1.5))
        names.append(f"{len(shown) - len(named)} others")
    axes.legend(lines, names, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _draw_marks(axes: Axes, entries: list[LedgerEntry]) -> None:
    """What was decided, a row each: moves, holds (as long as they lasted), halts, and what people ordered."""
    count = dict.fromkeys(_ROWS, 0)
    for entry in entries:
        row = _row(entry)
        count[row] += entry.count
        _mark(axes, entry, row)
    axes.set_yticks(range(len(_ROWS)), [f"{row} ({count[row]:,})" for row in _ROWS], fontsize=8)
    axes.set_ylim(len(_ROWS) - .4, -.6)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if entries:
        from matplotlib import dates

        locator = dates.AutoDateLocator(maxticks=9)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_xlabel("UTC", fontsize=8)


def _mark(axes: Axes, entry: LedgerEntry, row: str) -> None:
    place, colour = _ROWS.index(row), _ROW_COLOURS[row]
    begin, end = _instants([_begin(entry), entry.decided_at])
    marker = {"moves": "|", "holds": "|", "halts": "v", "orders": "D"}[row]
    axes.plot([begin, end], [place, place], color=colour, linewidth=5, solid_capstyle="butt", alpha=.6)
    axes.plot([end], [place], marker, color=colour, markersize=5 if row == "orders" else 7, clip_on=False)
    if isinstance(entry, Act):
        axes.annotate(entry.act, (end, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=7)


def _row(entry: LedgerEntry) -> str:
    if isinstance(entry, Act):
        return "orders"
    return {Outcome.MOVE: "moves", Outcome.HOLD: "holds", Outcome.HALT: "halts"}[entry.outcome]


def _begin(entry: LedgerEntry) -> int:
    first = entry.first_decided_at if isinstance(entry, Decision) else None
    return entry.decided_at if first is None else first


def _units(metric: MetricReport, variant: str) -> int:
    return next(group.n_units for group in metric.groups if group.variant == variant)


def _instants(milliseconds: Sequence[int]) -> Any:
    return np.array(milliseconds, dtype="datetime64[ms]")


def _page(report: Report, figure: Figure) -> str:
    """One page that holds all it shows: no script, no font and no picture from elsewhere."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    picture = drawn.getvalue()
    picture = picture[picture.index("<svg") :]
    title, sentence = html.escape(f"Report of {report.experiment_id}"), html.escape(report.sentence)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}"
        "svg{width:100%;height:auto}</style>\n</head>\n<body>\n"
        f'<h1>{title}</h1>\n<p>{sentence}</p>\n<figure role="img" aria-label="{sentence}">\n{picture}</figure>\n'
        f"<ul>{notes}</ul>\n</body>\n</html>\n"
    )
