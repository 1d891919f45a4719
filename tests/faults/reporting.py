"""The fixture `check`, and the table at the end of a run: each check by its id, what is expected, what was observed.

A check travels with its test's report, so that the table is whole also where several processes run the tests. Tests
that ask for `check` have the mark `reliability`, wherever they stand: `make faults` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from faults.catalogue import MUST, PENDING, SHOULD

Check = Callable[..., None]
ROWS = MUST | SHOULD
_PROPERTY = "reliability"


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Check:
    """`check(id, expected, observed)` records both and asserts that they are equal, or that `ok` is true."""

    def record(row: str, expected: object, observed: object, ok: bool | None = None) -> None:
        assert row in ROWS, f"{row} is no row of the catalogue"
        good = expected == observed if ok is None else ok
        request.node.user_properties.append((_PROPERTY, [row, str(expected), str(observed), good]))
        assert good, f"{row}: expected {expected}, observed {observed}"

    return record


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark whoever records a check."""
    if check.__name__ in getattr(item, "fixturenames", ()):
        item.add_marker(_PROPERTY)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table, if any of its checks ran."""
    lines: dict[str, list[tuple[str, str]]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties if getattr(report, "when", "") == "call" else ():
            if name == _PROPERTY:
                row, expected, observed, good = value
                lines.setdefault(row, []).append((expected, observed if good else f"{observed}  FAILED"))
    if not lines:
        return
    if len(lines) > len(ROWS) // 2:  # of a narrowed run, only what it did
        lines |= {row: [(ROWS[row], _why_not(row))] for row in ROWS if row not in lines}
    terminalreporter.section("reliability: check, expected → observed")
    for row in ROWS:
        for expected, observed in lines.get(row, ()):
            terminalreporter.write_line(f"{row}  {expected}  →  {observed}")


def _why_not(row: str) -> str:
    return f"pending: {PENDING[row]}" if row in PENDING else "nothing: its test did not get so far, or did not run"
