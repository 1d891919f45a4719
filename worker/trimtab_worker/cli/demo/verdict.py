"""The demo's end: what was sent against what was folded, variant by variant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab_worker.cli import render
from trimtab_worker.cli.demo.screen import View
from trimtab_worker.cli.demo.traffic import Tally
from trimtab_worker.cli.demo.world import METRIC, World

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the demo has shown."""

    sent: int
    folded: int
    lost: int
    double: int
    exact: bool  # also the successes agree, variant by variant
    dead: int
    allocations: int
    moves: int
    best: str
    served: float  # share of all units that saw the best variant
    weight: float  # its weight at the end

    @property
    def good(self) -> bool:
        return self.lost == 0 and self.double == 0 and self.exact and self.moves > 0

    def picture(self) -> list[RenderableType]:
        """The summary, for a terminal and for a log alike."""
        equal = "=" if self.sent == self.folded else "≠"
        lines = [
            f"events sent {self.sent:,} {equal} folded {self.folded:,} (lost {self.lost}, double {self.double})",
            f"allocations published {self.allocations:,}, of which {self.moves:,} moved weights",
            f"share served to the best variant ({self.best}): {self.served:.1%}, at the end {self.weight:.1%}",
        ]
        if self.dead:
            lines.append(f"dead letters {self.dead:,}")
        if self.lost == self.double == 0 and not self.exact:
            lines.append("the sums of a variant are not what was sent")
        if not self.moves:
            lines.append("no weights moved: the demo was too short for that, or too slow")
        return [render.text(line, "bold green" if self.good else "bold red") for line in lines]


def judge(view: View, tallies: Mapping[str, Tally], world: World) -> Verdict:
    """Compare what traffic knows to have sent with what the fold has counted."""
    found, published = view.statistics, view.published
    lost = double = 0
    exact = found is not None
    for variant in world.rates:
        tally = tallies.get(variant, Tally())
        counted = found.trials.get(variant, 0) if found else 0
        lost += max(0, tally.n - counted)
        double += max(0, counted - tally.n)
        exact = exact and found is not None and found.totals[variant][METRIC].total == tally.successes
    total = sum(tally.n for tally in tallies.values())
    return Verdict(
        sent=total,
        folded=found.folded if found else 0,
        lost=lost,
        double=double,
        exact=exact,
        dead=sum(found.dead.values()) if found else 0,
        allocations=published.revision,
        moves=published.allocation.epoch - 1 if published.allocation else 0,
        best=world.best,
        served=tallies[world.best].n / total if total else 0.0,
        weight=published.parts.get(world.best, 0) / 1e6,
    )
