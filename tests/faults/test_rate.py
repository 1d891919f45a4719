"""RC-16: what an event costs from `publish` to committed statistics, all processes together."""

from __future__ import annotations

import time

import redis

from faults.reporting import Check
from logs import Log, event
from trimtab.client.publisher import Publisher
from trimtab.clock import system_clock
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest

EVENTS = 20_000
PER_SECOND = 10_000


def test_ten_thousand_events_a_second_get_from_a_producer_into_the_statistics(
    server: EmbeddedServer, log: Log, redis_client: redis.Redis, check: Check
) -> None:
    """Checked one by one, and deduplicated. In processor time, of one core where the bar has two: what others do on
    this machine meanwhile does not count. `make bench` measures by the clock, on idle cores.
    """
    outcome, fold = event(occurred_at=system_clock()), Ingest(log.store)
    before = spent(redis_client)
    with Publisher(server.url) as publisher:
        for number in range(EVENTS):
            publisher.publish(**outcome, event_id=f"e{number}")
    fold.drain(holder="worker")
    rate = EVENTS / (spent(redis_client) - before)
    assert log.cell("b").n == EVENTS
    check("RC-16", f"≥ {PER_SECOND:,} a second", f"{rate:,.0f} a second of one core", rate >= PER_SECOND)


def spent(client: redis.Redis) -> float:
    """Processor seconds of this process, which publishes and folds, and of the server."""
    used = client.info("cpu")
    return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])
