"""An experiment that always wants to move: its limits, outcomes that say so, and what is published of it."""

from __future__ import annotations

from logs import Log, batch, event
from trimtab.schema.allocation import Allocation

EAGER = {"min_trials": 10, "cooldown_seconds": 0, "max_step": 0.02, "min_weight": 0.05}


def outcomes(log: Log) -> None:
    """b is better, so that every decision wants to move."""
    now = log.store.now()
    rows = [
        event(variant=variant, occurred_at=now, metrics={"converted": int(number % 20 < won)})
        for variant, won in (("control", 6), ("b", 12))
        for number in range(1000)
    ]
    log.columns(batch(rows, sent_at=now, base=now, offsets=None))
    log.drain()


def published(log: Log) -> Allocation:
    current = log.publications.read("checkout")
    assert current is not None
    assert current.allocation is not None
    return current.allocation
