"""What tests with real SDKs share: a move of weights, its documents, and SDKs that serve them in their own process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from client_allocations import allocation
from trimtab.exporters import EXPORTERS, export
from trimtab.layout import initial_ranges, largest_remainder, relayout
from trimtab.schema.allocation import Allocation
from trimtab.schema.base import PARTS

UNITS = 20_000


def many_segments() -> Allocation:
    """Four variants in thirty slices of uneven size, as years of updates may leave them, and a fifth that is halted."""
    rng = random.Random(7)
    cuts = sorted(rng.sample(range(1, PARTS), 29))
    ranges = [("ABCD"[place % 4], *ends) for place, ends in enumerate(pairwise([0, *cuts, PARTS]))]
    shares = dict.fromkeys("ABCDE", 0.0)
    for variant, start, end in ranges:
        shares[variant] += (end - start) / PARTS
    return allocation(9, shares, epoch=9, ranges=tuple(ranges))


Variants = list[str | None]
SDKS = Path(__file__).parent / "integration" / "flag_systems" / "sdks.py"

START = allocation(1, {"A": 0.2, "B": 0.3, "C": 0.5})
SHARES = {"A": 0.1, "B": 0.3, "C": 0.6}  # total variation .1
_PARTS = largest_remainder(SHARES)
MOVED = allocation(2, SHARES, epoch=2, ranges=relayout(START.ranges, _PARTS))
# Not ours: one range per variant, always in one order. The boundary between B and C moves, and that before it too.
FIXED_ORDER = allocation(2, SHARES, epoch=2, ranges=initial_ranges(_PARTS))
MANY_SEGMENTS = many_segments()
CONCLUDED = allocation(3, {"A": 0.0, "B": 1.0, "C": 0.0}, epoch=3, status="concluded")


def after_start(form: str) -> dict[str, Any]:
    """The document that follows the one of START."""
    return export(MOVED, form, previous=export(START, form)).document


def document_of(of: Allocation, form: str) -> dict[str, Any]:
    return EXPORTERS[form].render([of])


def written(document: Mapping[str, Any], directory: Path, name: str) -> Path:
    path = directory / f"{name}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def served(command: Sequence[str], *sources: Path | str) -> list[Variants]:
    """The variants of user-0, user-1, … as the program `command` serves them from each source, a file or an address."""
    arguments = [*command, START.experiment_id, str(UNITS), *map(str, sources)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[Variants] = json.loads(done.stdout)
    assert [len(variants) for variants in found] == [UNITS] * len(sources)
    return found


def served_by_python(sdk: str, *sources: Path | str) -> list[Variants]:
    return served([sys.executable, str(SDKS), sdk], *sources)


def changed(before: Sequence[str | None], after: Sequence[str | None]) -> float:
    """The share of units whose variant is another."""
    return sum(was != now for was, now in zip(before, after, strict=True)) / len(before)


def assert_split(variants: Sequence[str | None], shares: Mapping[str, float]) -> None:
    """Every variant within three standard errors of its share, and no other answer."""
    counts = Counter(variants)
    assert set(counts) <= set(shares)
    for variant, share in shares.items():
        error = (share * (1 - share) / len(variants)) ** 0.5
        assert abs(counts[variant] / len(variants) - share) <= 3 * error, (variant, counts)
