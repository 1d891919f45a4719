"""The fixture `check`, and the table at the end of a run: each check by its id, what is expected, what was observed.

A check travels with its test's report, so that the table is whole also where several processes run the tests. Tests
that ask for `check` have the mark `reliability`, wherever they stand: `make faults` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from faults.catalogue import HELD_BY, MUST, PENDING, SHOULD

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
    reports = [r for r in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
               if getattr(r, "when", "") == "call" or r.outcome == "failed"]  # fmt: skip
    lines = _held(reports) | _checked(reports)  # what was observed says more than how many tests passed
    if not lines:
        return
    whole = len(lines) > len(ROWS) // 2  # of a narrowed run, only what it did
    if whole:
        lines |= {row: [(ROWS[row], f"pending: {why}")] for row, why in PENDING.items() if row not in lines}
    terminalreporter.section("reliability: check, expected → observed")
    for row in sorted(lines, key=lambda row: list(ROWS).index(row)):
        for expected, observed in lines[row]:
            terminalreporter.write_line(f"{row}  {expected}  →  {observed}")


def _checked(reports: list[Any]) -> dict[str, list[tuple[str, str]]]:
    lines: dict[str, list[tuple[str, str]]] = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == _PROPERTY:
                row, expected, observed, good = value
                lines.setdefault(row, []).append((expected, observed if good else f"{observed}  FAILED"))
    return lines


def _held(reports: list[Any]) -> dict[str, list[tuple[str, str]]]:
    outcomes: dict[str, list[bool]] = {}
    for report in reports:
        outcomes.setdefault(report.nodeid.partition("[")[0], []).append(report.outcome == "passed")
    lines: dict[str, list[tuple[str, str]]] = {}
    for row, tests in HELD_BY.items():
        ran = [good for test in tests for good in outcomes.get(test, ())]
        if ran:
            lines[row] = [(ROWS[row], f"{sum(ran)} of {len(ran)} tests passed{'' if all(ran) else '  FAILED'}")]
    return lines
