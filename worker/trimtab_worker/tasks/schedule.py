"""What beat sends, and when; a message that no worker takes within its period evaporates."""

from __future__ import annotations

from typing import Any

from trimtab.settings import Periods


def beat_schedule(periods: Periods, partitions: int) -> dict[str, dict[str, Any]]:
    """Beat's entries: two beats, or none, are normal events, and cost some work or some delay."""
    schedule = {
        "tick": _every(periods.tick_seconds, "trimtab.tick"),
        "heartbeat": _every(periods.heartbeat_seconds, "trimtab.heartbeat"),
    }
    for number in range(partitions):
        schedule[f"revive-{number}"] = _every(periods.revive_seconds, "trimtab.drain", number)
        schedule[f"maintain-{number}"] = _every(periods.maintain_seconds, "trimtab.maintain", number)
    return schedule


def _every(seconds: float, task: str, *args: int) -> dict[str, Any]:
    return {"task": task, "schedule": seconds, "args": args, "options": {"expires": seconds}}
