"""OB-03: the drill for a lost machine: the append-only file on another server, workers resume, every count is right."""

from __future__ import annotations

import time
from pathlib import Path

from faults.aof import copy_of
from faults.processes import Crew, drain_for_ever
from faults.reporting import Check
from faults.sizes import FULL
from logs import Log, batch, event
from servers import wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.schema.decision import HoldCode
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild

BATCH = 10_000
BATCHES = 100 if FULL else 20
MOST_SECONDS = 60.0


def test_a_copy_on_another_server_is_folded_to_the_end_by_its_workers(
    own_server: EmbeddedServer, own_log: Log, tmp_path: Path, check: Check
) -> None:
    """Taken from a running server in the middle of its work: two fifths are folded, the rest waits in the log."""
    now = own_log.store.now()
    rows = [event(variant=("control", "b")[n % 5 > 1], metrics={"converted": int(n % 3 == 0)}) for n in range(BATCH)]
    columns = batch(rows, base=now, offsets=[0] * BATCH, sent_at=now, producer="p")
    for sequence in range(1, BATCHES + 1):
        own_log.columns({**columns, "sequence": sequence})
        if sequence == BATCHES * 2 // 5:
            own_log.drain()
    other = copy_of(own_server, tmp_path / "other")
    own_server.kill()

    began, total = time.monotonic(), BATCH * BATCHES
    with other.start(), Crew() as crew, connect(other.url) as client:
        store, publications = RedisPartition(client, 0), RedisPublications(client)
        resumed_at = store.load().counters["folded"]
        for _ in range(2):
            crew.add(drain_for_ever, other.url)
        wait_until(lambda: store.load().counters["folded"] >= total, MOST_SECONDS, what="the end of the log")
        took = time.monotonic() - began
        decision = Reallocate(publications, lambda _: store).recompute("checkout", attempts=20)
        state = store.load_experiments(["checkout"])["checkout"]
        assert state is not None
        found = {variant: state.trials[1, variant] for variant in ("control", "b")}
        assert HoldCode.RESTORED in [reason.code for reason in decision.reasons]
        assert store.load().counters["dead"] == 0
        assert rebuild(store, verify=True).identical
    expected = {"control": total * 2 // 5, "b": total * 3 // 5}
    assert resumed_at == expected["control"], "the copy was taken before the end"
    check(
        "OB-03",
        f"{expected}, ≤ {MOST_SECONDS:g} s",
        f"{found} in {took:.1f} s, from {resumed_at:,} of {total:,} events",
        ok=found == expected and took <= MOST_SECONDS,
    )
