"""How things look: one console, percentages, bars and instants; rich is imported when something is drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from trimtab.clock import to_rfc3339
from trimtab.schema.base import PARTS

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

BAR_WIDTH = 24


@cache
def console() -> Console:
    """Standard output; as wide as its lines where no terminal says otherwise."""
    from rich.console import Console

    # Tables in a pipe are for grep: 80 columns would fold their cells.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)


def show(*things: RenderableType) -> None:
    """Print tables and texts."""
    for thing in things:
        console().print(thing)


def say(sentence: str) -> None:
    """Print one line as it is."""
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def note(sentence: str) -> None:
    """One line for the person watching, not for the pipe: on stderr."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def show_json(document: Any, *, lines: bool = False) -> None:
    """Print JSON: indented, or on one line where many documents follow each other."""
    say(json.dumps(document, ensure_ascii=False, indent=None if lines else 2))


def table(*columns: str, title: str | None = None, right: tuple[str, ...] = ()) -> Table:
    """An empty table without a frame; columns named in `right` are set to the right."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", no_wrap=column in right)
    return grid


def text(line: str, style: str = "") -> RenderableType:
    """A line whose brackets are no markup."""
    from rich.text import Text

    return Text(line, style=style)


def percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.1 else f"{share:.1%}"


def share(parts: int) -> str:
    return percent(parts / PARTS)


def probability(p: float | None) -> str:
    """A probability that never reads as a certainty."""
    if p is None:
        return "–"
    return "<0.1%" if 0 <= p < 0.0005 else ">99.9%" if p > 0.9995 else f"{p:.1%}"


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A bar in eighths of a character."""
    eighths = round(max(0.0, min(1.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def shares(weights: Mapping[str, int]) -> str:
    return " · ".join(f"{variant} {share(parts)}" for variant, parts in weights.items())


def instant(milliseconds: int | None) -> str:
    return "never" if milliseconds is None else to_rfc3339(milliseconds).replace("T", " ")


def number(value: float) -> str:
    """A number as short as it can be read: whole ones with thousands, others with six digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
