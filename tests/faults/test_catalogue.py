"""No check is forgotten: each row is checked here, held by a test that exists, or pending with a reason."""

from __future__ import annotations

import re
from pathlib import Path

from faults.catalogue import HELD_BY, MUST, PENDING, SHOULD

ROOT = Path(__file__).parents[2]
_CALL = re.compile(r'\bcheck\(\s*"([A-Z]{2}-\d\d)"')


def checked_here() -> set[str]:
    sources = (path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    return {row for source in sources for row in _CALL.findall(source)}


def test_every_row_is_checked_held_or_pending() -> None:
    assert (MUST | SHOULD).keys() - checked_here() - HELD_BY.keys() - PENDING.keys() == set()


def test_nothing_that_is_checked_is_called_pending() -> None:
    assert (checked_here() | HELD_BY.keys()) & PENDING.keys() == set()


def test_every_test_that_holds_a_row_exists() -> None:
    for tests in HELD_BY.values():
        for test in tests:
            path, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / path).read_text(), test


def test_no_row_of_the_catalogue_is_unknown_to_the_tables_beside_it() -> None:
    assert checked_here() | HELD_BY.keys() | PENDING.keys() <= (MUST | SHOULD).keys()
