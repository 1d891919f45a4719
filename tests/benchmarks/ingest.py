"""log → committed statistics"""

from __future__ import annotations

import time

from benchmarks.system import BATCH, drain_rate, fastest, fill_with_batches, fill_with_rows, running_log
from trimtab import OutcomeEvent, Publisher

EVENTS, EVENTS_WITH_IDS, ROWS, PUBLISHED = 4_000_000, 500_000, 150_000, 200_000


def measure() -> dict[str, float]:
    return {
        "columnar_events_per_second": fastest(_columnar),
        "columnar_dedupe_events_per_second": min(
            fastest(lambda: _deduplicated("event_id")), fastest(lambda: _deduplicated("unit_id"))
        ),
        "row_events_per_second": fastest(_rows),
        **_published(),
    }


def _columnar() -> float:
    with running_log() as (log, _):
        fill_with_batches(log, EVENTS)
        return drain_rate(log, EVENTS)


def _deduplicated(column: str) -> float:
    def ids(number: int) -> list[str]:
        return [f"{column}-{number * BATCH + place}" for place in range(BATCH)]

    with running_log(unit="unit" if column == "unit_id" else "event") as (log, _):
        fill_with_batches(log, EVENTS_WITH_IDS, **{column: ids})
        return drain_rate(log, EVENTS_WITH_IDS)


def _rows() -> float:
    with running_log() as (log, _):
        fill_with_rows(log, ROWS)
        return drain_rate(log, ROWS)


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
