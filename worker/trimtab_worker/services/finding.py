"""What a check of the surroundings comes to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it held, what was found, and what to do if it did not."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    fatal: bool = False  # a worker refuses to start on it
