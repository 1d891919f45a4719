"""How numbers read in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float) -> str:
    """A share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def told_apart(before: float, after: float) -> tuple[str, str]:
    """Two unequal shares as percentages with as many decimals, up to four, as it takes to tell them apart."""
    was, now, decimals = percent(before), percent(after), 1
    while was == now and decimals < 4:
        decimals += 1
        was, now = f"{100 * before:.{decimals}f} %", f"{100 * after:.{decimals}f} %"
    return was, now


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    size = 100 * abs(share)
    text = f"{size:.1f}" if size >= .05 or size == 0 else f"{size:.4f}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def count(number: float) -> str:
    """A whole number with thousands set apart."""
    return f"{number:,.0f}"


def more_trials(number: float) -> str:
    """`1 more trial`, `1,000 more trials`."""
    return "1 more trial" if number == 1 else f"{count(number)} more trials"


def span(seconds: float) -> str:
    """A duration, in the largest unit that keeps it readable."""
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}s"
    return "1 second" if seconds == 1 else f"{seconds:.4g} seconds"


def listed(names: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; a long list ends in `and 12 others`."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
