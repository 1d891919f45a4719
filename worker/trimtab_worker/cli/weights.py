"""What comes out: `weights`, as the flag systems poll them, and `stats`, which they were computed from."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.errors import NotFound
from trimtab_worker.cli import options, render, serving, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trimtab.client.control import Control
    from trimtab.schema.allocation import Allocation
    from trimtab_worker.services.statistics import Statistics


def weights(
    experiment: options.ExperimentId,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and show every change.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks while watching.")] = 1.0,
    clients: Annotated[bool, typer.Option("--clients", help="List the flag clients, and what each serves.")] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Show the allocation in force.

    With --json it is exactly the document that flag systems poll. Flag clients say every half minute what they serve;
    --clients lists them, also with --json.
    """
    control = session.control()
    allocation = published_allocation(control, experiment)  # says what is missing, before anything is drawn
    if clients:
        _clients(allocation, as_json=json)
    elif watch:
        _watch(control, experiment, interval, as_json=json)
    elif json:
        render.show_json(allocation.model_dump(mode="json"))
    else:
        served = serving.sentence(serving.notes_on(experiment), allocation)
        render.show(*_picture(allocation), *_overdue(allocation), render.text(served))


def published_allocation(control: Control, experiment: str) -> Allocation:
    """The allocation in force.

    Raises:
        NotFound: there is no such experiment, or it has published nothing yet.
    """
    published = control.show(experiment)
    if published.allocation is None:
        raise NotFound(
            f"Experiment {experiment!r} is {published.status} and has published no weights yet; "
            f"run: trimtab experiment start {experiment}"
        )
    return published.allocation


def _clients(allocation: Allocation, *, as_json: bool) -> None:
    notes = serving.notes_on(allocation.experiment_id)
    if as_json:
        render.show_json(serving.documents(notes, allocation))
    else:
        table = [serving.table(notes, allocation)] if notes else []
        render.show(*table, render.text(serving.sentence(notes, allocation)))


def _picture(allocation: Allocation) -> list[RenderableType]:
    grid = render.table("variant", "weight", "", "parts", "ranges", right=("weight", "parts", "ranges"))
    for variant, parts in _ordered(allocation).items():
        name = f"{variant} (control)" if variant == allocation.control else variant
        owned = sum(1 for slice_ in allocation.ranges if slice_[0] == variant)
        grid.add_row(name, render.share(parts), render.bar(parts / 1e6), f"{parts:,}", str(owned))
    head = (
        f"{allocation.experiment_id} · {allocation.status} · epoch {allocation.epoch} · revision {allocation.revision}"
        f" · computed {render.instant(allocation.computed_at)}"
    )
    return [render.text(head, "bold"), grid, render.text(allocation.reason)]


def _overdue(allocation: Allocation) -> list[RenderableType]:
    """Whether nobody renews these weights any more, by the server's clock."""
    now = session.services().partition_of(allocation.experiment_id).now()
    if allocation.valid_until is None or now <= allocation.valid_until:
        return []
    until = render.instant(allocation.valid_until)
    return [render.text(f"Nobody has renewed them, and they were valid until {until}: run `trimtab doctor`.")]


def _ordered(allocation: Allocation) -> dict[str, int]:
    """Weights with control first, the others by id: the document's own order means nothing."""
    control = allocation.control
    others = sorted(variant for variant in allocation.weights if variant != control)
    return {variant: allocation.weights[variant] for variant in (control, *others)}


def _watch(control: Control, experiment: str, interval: float, *, as_json: bool) -> None:
    """Until interrupted: a table in place on a terminal, else one line per revision."""
    if sys.stdout.isatty() and not as_json:
        from rich.console import Group
        from rich.live import Live

        with Live(console=render.console(), auto_refresh=False) as live:
            while True:
                live.update(Group(*_picture(published_allocation(control, experiment))), refresh=True)
                time.sleep(interval)
    shown: tuple[str, int] | None = None
    while True:
        allocation = published_allocation(control, experiment)
        if (allocation.incarnation, allocation.revision) != shown:
            shown = allocation.incarnation, allocation.revision
            if as_json:
                render.show_json(allocation.model_dump(mode="json"), lines=True)
            else:
                render.say(
                    f"{render.instant(allocation.computed_at)} revision {allocation.revision} epoch "
                    f"{allocation.epoch}: {render.shares(_ordered(allocation))}; {allocation.reason}"
                )
        time.sleep(interval)


def stats(experiment: options.ExperimentId, data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Show the statistics and their totals.

    Cells per epoch, variant and metric; with --json also the exact scaled sums.
    """
    from trimtab_worker.services.statistics import statistics

    found = statistics(session.store_of(experiment), experiment)
    if json:
        render.show_json(found.model_dump(mode="json"))
    else:
        render.show(*_tables(found))


def _tables(found: Statistics) -> list[RenderableType]:
    totals = render.table("variant", "metric", "n", "total", "mean", "trials", right=("n", "total", "mean", "trials"))
    for variant, metrics in found.totals.items():
        for metric, sums in metrics.items():
            mean = "–" if sums.mean is None else f"{sums.mean:.6g}"
            total = render.number(sums.total)
            totals.add_row(variant, metric, f"{sums.n:,}", total, mean, f"{found.trials.get(variant, 0):,}")
    until = render.instant(found.data_until)
    head = f"{found.experiment_id} · {found.status} · {found.folded:,} outcomes up to {until}"
    things: list[RenderableType] = [render.text(head, "bold"), totals]
    if len(found.epochs) > 1:
        warning = "Means over all epochs mislead while weights move; decisions never use them."
        things += [_cells(found), render.text(warning)]
    things += [render.text(line) for line in _remarks(found)]
    return things


def _cells(found: Statistics) -> Any:
    grid = render.table("epoch", "variant", "metric", "n", "total", "mean", right=("epoch", "n", "total", "mean"))
    for cell in found.cells:
        mean = "–" if cell.mean is None else f"{cell.mean:.6g}"
        grid.add_row(str(cell.epoch), cell.variant, cell.metric, f"{cell.n:,}", render.number(cell.total), mean)
    return grid


def _remarks(found: Statistics) -> list[str]:
    remarks = []
    if found.duplicates:
        remarks.append(f"{found.duplicates:,} duplicates were recognised and not counted.")
    if found.capped:
        remarks.append(f"{found.capped:,} outcomes were beyond their unit's cap for the hour and not counted.")
    if found.conflicts:
        remarks.append(f"{found.conflicts:,} repeated event ids said something else than the first, which counts.")
    if found.unstamped:
        remarks.append(f"{found.unstamped:,} outcomes named no epoch and count in the one then in force.")
    for metric, n in found.clipped.items():
        remarks.append(f"{n:,} values of {metric} were clipped to its cap.")
    if found.dead:
        letters = ", ".join(f"{n:,} × {code}" for code, n in found.dead.items())
        remarks.append(f"{sum(found.dead.values()):,} dead letters: {letters}.")
    return remarks
