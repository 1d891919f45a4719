"""EO-07, EO-08, RC-04: replies that are lost after the request was done, on both sides, and what repeats by itself."""

from __future__ import annotations

import json

import pytest
import redis

from faults.processes import Crew, drain_for_ever
from faults.proxy import Proxy
from faults.reporting import Check
from logs import Log, event
from servers import wait_until
from trimtab.client.publisher import Publisher
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest

EVENTS = 60_000
ROWS = 2_000
LOSS = 0.01


@pytest.mark.timeout(180)
def test_one_reply_in_a_hundred_lost_on_both_sides_leaves_the_count_exact(
    own_server: EmbeddedServer, own_log: Log, check: Check
) -> None:
    with Proxy(own_server.url, loss=LOSS, seed=3) as proxy, Crew() as crew:
        for _ in range(2):
            crew.add(drain_for_ever, proxy.url)
        now = own_log.store.now()
        with Publisher(proxy.url, max_batch_events=20, linger_seconds=0.001) as publisher:
            for number in range(EVENTS):
                publisher.publish(**event(variant="b", occurred_at=now, metrics={"converted": number % 2}))
            publisher.flush(120)
        wait_until(lambda: own_log.store.load().cursor.id == own_log.store.ends().last_id, 60, what="the fold of all")
        lost, replies = proxy.lost, proxy.replies
    cell = own_log.cell("b")
    assert lost > 10
    check("EO-07", (EVENTS, EVENTS // 2, []), (cell.n, cell.total, own_log.dead_codes()))
    check("EO-07", "replies lost on the way > 0", f"{lost:,} of {replies:,}", lost > 0)


@pytest.mark.timeout(180)
def test_a_library_that_repeats_by_itself_writes_more_than_is_counted(
    own_server: EmbeddedServer, own_log: Log, check: Check
) -> None:
    """redis-py as it comes repeats an XADD whose reply was lost; the event id tells."""
    before = own_log.store.ends().length
    with Proxy(own_server.url, loss=LOSS, seed=4) as proxy, redis.Redis(port=proxy.port) as client:
        for number in range(ROWS):
            row = event(variant="b", event_id=f"e{number}", occurred_at=own_log.store.now())
            client.xadd("trimtab:{p0}:events", {"event": json.dumps(row)})
    written = own_log.store.ends().length - before
    report = Ingest(own_log.store).drain(holder="worker")
    assert (report.folded, report.dead) == (ROWS, 0)
    check("EO-08", f"log ≥ {ROWS:,}, counted {ROWS:,}", f"log {written:,}, counted {own_log.cell('b').n:,}",
          written > ROWS and own_log.cell("b").n == ROWS)  # fmt: skip


def test_latency_costs_time_and_no_effect_is_double(own_server: EmbeddedServer, own_log: Log, check: Check) -> None:
    """200 ms a reply."""
    with Proxy(own_server.url) as proxy, Crew() as crew:
        proxy.delay_seconds = 0.2
        crew.add(drain_for_ever, proxy.url)
        crew.add(drain_for_ever, proxy.url)
        with Publisher(proxy.url) as publisher:
            for _ in range(5_000):
                publisher.publish(**event(variant="b", occurred_at=own_log.store.now()))
            publisher.flush(60)
        wait_until(lambda: own_log.store.load().counters["folded"] >= 5_000, 60, what="the fold of all")
    check("RC-04", 5_000, own_log.cell("b").n)
