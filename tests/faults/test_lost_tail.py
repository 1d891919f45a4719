"""EO-06: power losses that take the end of the append-only file, and a producer that sends its last seconds again."""

from __future__ import annotations

import os
import random

import pytest

from faults.aof import increment
from faults.reporting import Check
from faults.sizes import FULL
from logs import Log, event
from trimtab.client.publisher import Publisher
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest

CUTS = 100 if FULL else 8
EVENTS, AT_ONCE = 200, 50  # sent, confirmed and folded before each place where the file may end, and again after it


@pytest.mark.timeout(300)
def test_what_power_losses_took_is_sent_again_and_nothing_counts_twice(
    own_server: EmbeddedServer, own_log: Log, check: Check
) -> None:
    """Each loss takes log and state back to any byte of the last moments, all of which the producer had confirmed.

    Amounts are drawn: were one event lost and another doubled, their sum or that of their squares would tell.
    """
    rng, amounts, taken, fold = random.Random(6), list[int](), 0, Ingest(own_log.store)

    def send(publisher: Publisher) -> None:
        for number in range(EVENTS):
            amounts.append(rng.randrange(100))
            publisher.publish(**event(occurred_at=own_log.store.now(), metrics={"amount": amounts[-1]}))
            if (number + 1) % AT_ONCE == 0:
                publisher.flush(60)
                fold.drain(holder="worker")

    with Publisher(own_server.url, linger_seconds=0.001, max_batch_events=20) as publisher:
        for _ in range(CUTS):
            send(publisher)
            kept = increment(own_server).stat().st_size
            send(publisher)
            folded = own_log.cell("b", "amount").n
            own_server.kill()
            path = increment(own_server)
            os.truncate(path, rng.randrange(kept, path.stat().st_size))
            own_server.start()
            taken += folded - own_log.cell("b", "amount").n
        send(publisher)
    cell = own_log.cell("b", "amount")
    assert taken > CUTS
    assert own_log.dead_codes() == []
    n = len(amounts)
    right = (n, sum(amounts) * 10**6, sum(amount**2 for amount in amounts) * 10**12) == cell
    check("EO-06", f"lost 0, double 0 of {n:,}",
          f"lost {max(0, n - cell.n)}, double {max(0, cell.n - n)} of {n:,}; {CUTS} cuts took {taken:,} of them "
          "from the state, for a while", right)  # fmt: skip
