"""EO-05: a power loss may end the append-only file anywhere; whatever is left is a state and its log, in step."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import redis

from faults.aof import copy_of, increment
from faults.reporting import Check
from logs import Log, batch, event
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild

CUTS = 100
ROUNDS = 150


def write_history(client: redis.Redis, rng: random.Random) -> None:
    """Rows, batches, duplicates, dead letters, drains, decisions and trims, in turn, each often enough to be cut."""
    log = Log(
        RedisPartition(client, 0),
        RedisPublications(client),
        constraints={"min_trials": 10, "cooldown_seconds": 0, "max_step": 0.2, "min_weight": 0.05},
    )
    ingest, maintain = Ingest(log.store), Maintain(log.store, 60_000)
    reallocate = Reallocate(log.publications, lambda _: log.store)
    now = log.store.now()
    for turn in range(ROUNDS):
        for number in range(rng.randrange(1, 6)):
            name = f"e{turn}-{rng.randrange(number + 1)}"
            log.row(event(event_id=name, occurred_at=now, variant=rng.choice(["b", "control"])))
        served = rng.choices(["b", "control"], k=20)
        many = [event(event_id=f"b{turn}-{n}", occurred_at=now, variant=v) for n, v in enumerate(served)]
        log.columns(batch(many, producer="p", sequence=turn + 1, sent_at=now, base=now, offsets=None))
        log.row({"experiment_id": "checkout"})
        ingest.drain(holder="worker")
        if turn % 3 == 0:
            reallocate.recompute("checkout")
        maintain.trim()


@pytest.mark.timeout(300)
def test_a_file_cut_anywhere_is_a_state_that_is_the_fold_of_its_log(
    own_server: EmbeddedServer, tmp_path: Path, check: Check
) -> None:
    rng = random.Random(5)
    with connect(own_server.url) as client:
        write_history(client, rng)
    own_server.kill()
    size = increment(own_server).stat().st_size
    places = sorted(rng.sample(range(size // 50, size), CUTS))
    identical, cursors, decided = 0, set(), set()
    for place in places:
        directory = tmp_path / f"cut-{place}"
        with copy_of(own_server, directory, length=place) as server, connect(server.url) as client:
            store, publications = RedisPartition(client, 0), RedisPublications(client)
            report = rebuild(store, verify=True)
            identical += report.identical
            cursors.add(report.cursor)
            published = publications.read("checkout")
            decided.add(published and published.revision)
            if published and published.allocation:
                assert published.allocation.revision == published.revision
                assert store.announced("checkout") >= published.allocation.epoch
        shutil.rmtree(directory)
    assert len(cursors) > CUTS // 2, "the cuts should fall between different commits"
    assert len(decided) > 10
    check("EO-05", f"state == fold(log ≤ cur) in {CUTS} of {CUTS} cuts", f"{identical} of {CUTS}", identical == CUTS)
