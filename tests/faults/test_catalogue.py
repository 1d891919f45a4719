"""No check is forgotten: each row is checked by some test, or pending with a reason."""

from __future__ import annotations

import re
from pathlib import Path

from faults.catalogue import MUST, PENDING, SHOULD

TESTS = Path(__file__).parents[1]
_CALL = re.compile(r'\bcheck\(\s*"([A-Z]{2}-\d\d)"')


def checked() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("test_*.py")))
    return {row for source in sources for row in _CALL.findall(source)}


def test_every_row_is_checked_or_pending_and_not_both() -> None:
    assert (MUST | SHOULD).keys() - checked() == PENDING.keys()


def test_every_row_that_is_checked_stands_in_the_catalogue() -> None:
    assert checked() <= (MUST | SHOULD).keys()
