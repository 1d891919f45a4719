"""log → committed statistics"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from benchmarks.system import drain_rate, fastest, fill_with_batches, fill_with_rows, running_log
from trimtab import OutcomeEvent, Publisher

EVENTS, EVENTS_WITH_IDS, ROWS, PUBLISHED = 4_000_000, 500_000, 150_000, 200_000


def measure() -> dict[str, float]:
    return {
        "columnar_events_per_second": fastest(_columnar),
        "columnar_dedupe_events_per_second": min(
            fastest(lambda: _deduplicated("event_id")), fastest(lambda: _deduplicated("unit_id"))
        ),
        "row_events_per_second": fastest(_rows),
        "signed_row_events_per_second": fastest(partial(_rows, signed=True)),
        "protected_events_per_second": fastest(partial(_deduplicated, "unit_id", signed=True, tokens=True)),
        **_ratios(),
        **_published(),
    }


def _ratios() -> dict[str, float]:
    """Rates under protections that an operator may choose, as shares of those without; measured in turn, so that
    neighbours on the machine slow both."""
    units = partial(_deduplicated, "unit_id", EVENTS_WITH_IDS // 2)
    return {
        "signed_columnar_ratio": _ratio(partial(_columnar, EVENTS // 2), signed=True),
        "signed_dedupe_ratio": _ratio(units, signed=True),
    }


def _ratio(rate: Callable[..., float], runs: int = 3, **protection: bool) -> float:
    rates = [(rate(), rate(**protection)) for _ in range(runs)]
    plain, protected = (max(of_one_kind) for of_one_kind in zip(*rates, strict=True))
    return protected / plain


def _columnar(events: int = EVENTS, *, signed: bool = False) -> float:
    with running_log(signed=signed) as (log, _):
        fill_with_batches(log, events)
        return drain_rate(log, events)


def _deduplicated(
    column: str, events: int = EVENTS_WITH_IDS, *, signed: bool = False, tokens: bool = False
) -> float:
    unit = "unit" if column == "unit_id" else "event"
    with running_log(signed=signed, unit=unit, exposure_tokens=tokens) as (log, _):
        fill_with_batches(log, events, column, tokens=tokens)
        return drain_rate(log, events)


def _rows(rows: int = ROWS, *, signed: bool = False) -> float:
    with running_log(signed=signed) as (log, server):
        fill_with_rows(log, server, rows)
        return drain_rate(log, rows)


def _published() -> dict[str, float]:
    """Bytes an event takes on the wire with the real publisher, and how many it sends a second."""
    with running_log() as (log, server):
        now = log.store.now()
        events = [
            OutcomeEvent(
                experiment_id="checkout",
                variant="b" if place % 2 else "control",
                epoch=1,
                unit_id=f"user-{place}",
                occurred_at=now + place // 100,
                metrics={"converted": float(place % 10 == 0)},
            )
            for place in range(PUBLISHED)
        ]
        started = time.perf_counter()
        with Publisher(server.url) as publisher:
            for one in events:
                publisher.publish(one)
        elapsed = time.perf_counter() - started
        entries = log.store.read("0-0", 100_000)
        size = sum(len(entry.fields.get(b"batch", b"")) for entry in entries)
        return {"bytes_per_event_columnar": size / PUBLISHED, "published_events_per_second": PUBLISHED / elapsed}
