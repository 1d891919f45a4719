"""How numbers read in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def percent(*shares: float) -> list[str]:
    """Shares as percentages with one decimal, or with as many (up to four) as it takes to tell unequal ones apart."""
    for decimals in (1, 2, 3):
        texts = [f"{100 * share:.{decimals}f} %" for share in shares]
        if len(set(texts)) == len(set(shares)):
            return texts
    return [f"{100 * share:.4f} %" for share in shares]


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    size = 100 * abs(share)
    text = f"{size:.1f}" if size >= .05 or size == 0 else f"{size:.4f}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def count(number: float) -> str:
    """A whole number with thousands set apart."""
    return f"{number:,.0f}"


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
