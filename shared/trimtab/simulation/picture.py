"""Pictures of histories: regret and weights over time. They need the extra `plot`; nothing else here does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind
from trimtab.simulation.canvas import COLOURS, GREY, PALE, new_figure, percent, save, thousands, tidy
from trimtab.simulation.loop import History
from trimtab.simulation.outcomes import Floats
from trimtab.simulation.worlds import World

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

_MANY = 8  # variants beyond which a legend explains nothing: only the best is named
_BAND = (.1, .9)
_LOST = {MetricKind.BINARY: "conversions", MetricKind.REVENUE: "revenue"}


def draw_comparison(histories: Sequence[History], file: Path) -> None:
    """Each policy's regret over time beside that of equal shares, and its weights; the file's suffix says the format.

    Lines are means over runs; bands hold the middle 80 % of them. All histories are of one world.

    Raises:
        MissingExtra: matplotlib is not installed.
        InvalidInput: no histories, or the file cannot be written.
    """
    if not histories:
        raise InvalidInput("There is no history to draw.", field="histories")
    panels = len(histories)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    weights_width = 3.7 * columns + 1.7  # with the legend
    figure = new_figure(4.6 + weights_width, 3.9 * rows if rows > 1 else 4.2)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.6, weights_width))[0]
    _draw_regret(left.subplots(), histories)
    grid = right.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < panels:
            _draw_shares(axes, histories[place], title=f"Weights: {histories[place].policy}")
            axes.set_ylabel("share of units" if place % columns == 0 else "")
        else:
            axes.set_visible(False)
    _legend(right, grid.flat[0])
    figure.suptitle(_heading(histories[0]), x=.01, ha="left", fontsize=11, fontweight="bold")
    save(figure, file)


def draw_weights(history: History, file: Path, *, run: int = 0) -> None:
    """The weights of one run over time; the file's suffix says the format.

    Raises:
        MissingExtra: matplotlib is not installed.
        InvalidInput: there is no such run, or the file cannot be written.
    """
    if not 0 <= run < history.runs:
        raise InvalidInput(f"There is no run {run} among {history.runs}.", field="run", value=run)
    figure = new_figure(8.0, 4.0)
    axes = figure.subplots()
    _draw_shares(axes, history, run=run, title=f"Weights of one run in the world “{history.world.name}”")
    axes.set_ylabel("share of units")
    _legend(figure, axes)
    save(figure, file)


def _heading(history: History) -> str:
    world, runs = history.world, history.runs
    how_often = "1 run" if runs == 1 else f"{runs:,} runs (lines: means, bands: the middle 80 %)"
    return f"World “{world.name}”: {world.units:,} units in batches of {world.batch:,}, {how_often}"


def _draw_regret(axes: Axes, histories: Sequence[History]) -> None:
    world = histories[0].world
    units = np.arange(world.steps + 1) * world.batch
    equal = np.concatenate([[0.0], np.cumsum(world.uniform_regret)])
    axes.plot(units, equal, color=GREY, linestyle="--", linewidth=1.4, label="equal shares for ever")
    for place, history in enumerate(histories):
        lost = np.concatenate([np.zeros((history.runs, 1)), history.regret.cumsum(axis=1)], axis=1)
        colour = COLOURS[place % len(COLOURS)]
        _band(axes, units, lost, colour)
        axes.plot(units, lost.mean(axis=0), color=colour, linewidth=2, label=history.policy)
    what = _LOST.get(world.outcome.kind, "outcome")
    _frame(axes, units, title="Regret", ylabel=f"{what} lost against the best variant")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(thousands())
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _draw_shares(axes: Axes, history: History, *, title: str, run: int | None = None) -> None:
    world = history.world
    units = np.arange(world.steps + 1) * world.batch
    shares = np.concatenate([history.weights, history.weights_after[:, None]], axis=1)
    shares = shares if run is None else shares[run : run + 1]
    best = int(world.best[-1])
    for k in (*(k for k in range(world.size) if k != best), best):  # the best on top of the others
        colour = _colour(world, k)
        there = units >= world.enters[k] * world.batch
        _band(axes, units[there], shares[:, there, k], colour, steps=True)
        axes.plot(
            units[there],
            shares[:, there, k].mean(axis=0),
            color=colour,
            drawstyle="steps-post",
            linewidth=2.4 if k == best else 1.4,
            label=_label(world, k),
        )
    _frame(axes, units, title=title)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(percent())


def _label(world: World, k: int) -> str:
    best = int(world.best[-1])
    if k != best and world.size > _MANY:
        return "_others"  # a label that begins with _ stays out of the legend
    means = f"{world.means[0, k]:.4g}" if len(set(world.means[:, k])) == 1 else _range(world.means[:, k])
    return f"{world.variants[k]} ({means}){', best' if k == best else ''}"


def _range(means: Floats) -> str:
    return f"{means[0]:.3g} → {means[-1]:.3g}"


def _colour(world: World, k: int) -> str:
    if world.size <= len(COLOURS):
        return COLOURS[k]
    return COLOURS[0] if k == int(world.best[-1]) else PALE


def _band(axes: Axes, units: Any, runs: Floats, colour: str, *, steps: bool = False) -> None:
    if len(runs) > 1:
        low, high = np.quantile(runs, _BAND, axis=0)
        axes.fill_between(units, low, high, color=colour, alpha=.13, linewidth=0, step="post" if steps else None)


def _frame(axes: Axes, units: Any, *, title: str, ylabel: str = "") -> None:
    tidy(axes, title)
    axes.set_xlabel("units served")
    axes.set_ylabel(ylabel)
    axes.set_xlim(0, float(units[-1]))
    axes.xaxis.set_major_formatter(thousands())
    axes.locator_params(axis="x", nbins=5)


def _legend(figure: FigureBase, axes: Axes) -> None:
    """Variants in the order of their ids, beside the lines."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=labels.__getitem__)
    figure.legend(
        [handles[k] for k in order],
        [labels[k] for k in order],
        title="variant (true mean)",
        title_fontsize=9,
        frameon=False,
        fontsize=9,
        loc="outside right upper",
        alignment="left",
    )
