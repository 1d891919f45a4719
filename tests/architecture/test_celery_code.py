"""RC-10: what Celery offers and we do not use, because a message may be lost, repeated or late."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faults.reporting import Check

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "worker").rglob("*.py"))  # the import contracts keep Celery out of the shared package

# Canvas and results need a backend; ETA and countdown hold messages in a worker's memory beyond the visibility timeout;
# retries come on top of the next beat; revoke needs remote control.
FORBIDDEN = {
    "canvas": r"\b(chord|chain|group|chunks|signature)\(|\.si?\(|from celery import .*\b(chord|chain|group)\b",
    "results": r"AsyncResult|\.get\(timeout=",
    "delays": r"\b(eta|countdown)\s*=",
    "retries": r"\.retry\(|autoretry_for|retry_backoff",
    "remote control": r"\.revoke\(|app\.control|\binspect\(\)",
    "pickle": r"\bpickle\b(?!:)",
}


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_no_code_uses(what: str, check: Check) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line) and not line.strip().startswith(("#", '"""'))
    ]
    check("RC-10", f"no code uses {what}: []", f"{found} in {len(SOURCES)} files", found == [])


def test_every_source_file_was_read() -> None:
    assert len(SOURCES) > 40
