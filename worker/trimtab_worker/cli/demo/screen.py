"""What one sees: a table in place on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from trimtab_worker.cli import render
from trimtab_worker.cli.demo.world import World

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from trimtab.ports import Published
    from trimtab.schema.decision import LedgerEntry
    from trimtab_worker.services.statistics import Statistics

FRAME_SECONDS = 0.25
LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class View:
    """How things stand at one moment."""

    world: World
    elapsed: float
    seconds: float
    sent: int
    statistics: Statistics | None
    published: Published
    entry: LedgerEntry

    @property
    def folded(self) -> int:
        return self.statistics.folded if self.statistics else 0

    @property
    def accounted(self) -> int:
        """Outcomes that the fold has dealt with in any way."""
        found = self.statistics
        return found.folded + found.duplicates + sum(found.dead.values()) if found else 0

    @property
    def epoch(self) -> int:
        return self.published.allocation.epoch if self.published.allocation else 0

    @property
    def weights(self) -> dict[str, int]:
        """Parts in the order of the definition."""
        return {variant: self.published.parts.get(variant, 0) for variant in self.world.rates}

    def p_best(self, variant: str) -> float | None:
        belief = self.entry.posterior.get(variant) if self.entry.kind == "decision" else None
        return belief.p_best if belief else None


class Screen(Protocol):
    """Shows views as they come."""

    pause_seconds: float  # between two views

    def update(self, view: View, *, last: bool = False) -> None: ...


@contextmanager
def screen() -> Iterator[Screen]:
    """The screen that fits where standard output goes."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    from rich.live import Live

    with Live(console=render.console(), auto_refresh=False) as live:
        yield _Table(live)


class _Lines:
    """A line every few seconds."""

    pause_seconds = 1.0

    def __init__(self) -> None:
        self._next = 0.0

    def update(self, view: View, *, last: bool = False) -> None:
        if time.monotonic() < self._next and not last:
            return
        self._next = time.monotonic() + LINE_SECONDS
        render.say(
            f"{view.elapsed:5.1f} s  sent {view.sent:,}  folded {view.folded:,}  epoch {view.epoch}  "
            f"{render.shares(view.weights)}  {view.entry.sentence}"
        )


class _Table:
    """One table that moves."""

    pause_seconds = FRAME_SECONDS

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, view: View, *, last: bool = False) -> None:
        from rich.console import Group

        self._live.update(Group(*_picture(view)), refresh=True)


def _picture(view: View) -> list[RenderableType]:
    rate = view.sent / view.elapsed if view.elapsed else 0.0
    elapsed = min(view.elapsed, view.seconds)
    head = f"Trimtab demo · {elapsed:.0f} of {view.seconds:.0f} s · {rate:,.0f} outcomes a second"
    counts = (
        f"sent {view.sent:,} · folded {view.folded:,} · allocations published {view.published.revision:,} · "
        f"epoch {view.epoch}"
    )
    right = ("outcomes", "true rate now", "weight", "P(best)")
    grid = render.table("variant", *right[:2], "weight", "", "P(best)", right=right)
    for variant, parts in view.weights.items():
        belief = view.p_best(variant)
        trials = view.statistics.trials.get(variant, 0) if view.statistics else 0
        style = "green" if variant == view.world.best else ""
        grid.add_row(
            variant,
            f"{trials:,}",
            render.percent(view.world.rate(variant, view.elapsed)),
            render.share(parts),
            render.bar(parts / 1e6, 32).ljust(32),
            render.probability(belief),
            style=style,
        )
    return [render.text(head, "bold"), render.text(counts), grid, render.text(view.entry.sentence, "italic")]
