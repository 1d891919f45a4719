"""DP-01, DP-03, DP-04, DP-05, DP-12: decisions that race, orders that stand, documents that are always whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from faults.deciding import outcomes, published
from faults.reporting import Check
from faults.sizes import FULL
from logs import Log
from servers import wait_until
from trimtab import FlagClient
from trimtab.adapters.memory import MemoryPartition
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.errors import Conflict
from trimtab.fold import Cell
from trimtab.schema.allocation import Allocation
from trimtab.schema.base import PARTS
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.reallocate import Reallocate

STATES = 10_000 if FULL else 1_000
THREADS, TURNS = 4, 60
POLL_SECONDS = 0.5
READS, READS_AT_ONCE = 100_000, 50


@pytest.fixture
def log(eager_log: Log) -> Log:
    return eager_log


@pytest.mark.timeout(180)
def test_racing_recomputes_publish_each_revision_once(log: Log, server: EmbeddedServer, check: Check) -> None:
    outcomes(log)
    seen: list[int] = []

    def race() -> None:
        with connect(server.url) as client:
            service = Reallocate(RedisPublications(client), lambda _: RedisPartition(client, 0))
            for _ in range(TURNS):
                with suppress(Conflict):
                    seen.append(service.recompute("checkout").revision)

    before = published(log).revision
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(race) for _ in range(THREADS)]:
            done.result()
    wanted = list(range(before + 1, published(log).revision + 1))
    lost = THREADS * TURNS - len(seen)
    check("DP-01", "gapless and distinct", f"{len(seen)} published, {lost} lost their race", sorted(seen) == wanted)


@pytest.mark.timeout(180)
def test_a_halt_stands_while_four_publish(log: Log, server: EmbeddedServer, check: Check) -> None:
    outcomes(log)
    ending = threading.Event()

    def publish() -> None:
        with connect(server.url) as client:
            service = Reallocate(RedisPublications(client), lambda _: RedisPartition(client, 0))
            while not ending.is_set():
                with suppress(Conflict):
                    service.recompute("checkout")

    with FlagClient(server.url, experiments=["checkout"], poll_seconds=POLL_SECONDS, wake_up=False) as flags:
        wait_until(lambda: flags.allocation("checkout"), what="the client's first answer")
        with ThreadPoolExecutor(THREADS) as pool:
            running = [pool.submit(publish) for _ in range(THREADS)]
            wait_until(lambda: published(log).revision > 10, 30, what="publications")
            revision = log.control.halt("checkout", "b", reason="harm")
            halted_at = monotonic()
            wait_until(lambda: flags.allocation("checkout").weights["b"] == 0, 20, what="the client's halt")
            seen = monotonic() - halted_at
            wait_until(lambda: published(log).revision > revision + 10, 30, what="publications after the halt")
            ending.set()
            for done in running:
                done.result()
    later = [entry for entry in log.publications.ledger("checkout", 1000) if entry.revision >= revision]
    assert len(later) > 0
    assert published(log).weights == {"control": PARTS, "b": 0}
    assert all(entry.parts["b"] == 0 for entry in later if entry.kind == "decision")
    observed = f"{published(log).revision - revision} later revisions without b; client saw it after {seen:.2f} s"
    check("DP-04", f"halted for good; client sees it ≤ {POLL_SECONDS + 1} s", observed, seen <= POLL_SECONDS + 1)


@pytest.mark.timeout(180)
def test_no_reader_sees_a_torn_or_an_older_document(log: Log, server: EmbeddedServer, check: Check) -> None:
    """Each GET is a read of its own, beside a writer that never rests; the client's own rule would hide older ones."""
    outcomes(log)
    ending = threading.Event()
    written = []

    def publish() -> None:
        with connect(server.url) as client:
            service = Reallocate(RedisPublications(client), lambda _: RedisPartition(client, 0))
            while not ending.is_set():
                written.append(service.recompute("checkout").revision)

    wrong, last, revision = 0, b"", 0
    with ThreadPoolExecutor(1) as pool, connect(server.url) as client:
        writer = pool.submit(publish)
        for _ in range(READS // READS_AT_ONCE):
            pipe = client.pipeline(transaction=False)
            for _ in range(READS_AT_ONCE):
                pipe.get(ExperimentKeys("checkout").weights)
            for raw in pipe.execute():
                if raw == last:
                    continue
                last, before = raw, revision
                revision = Allocation.model_validate_json(raw).revision
                wrong += revision <= before
        ending.set()
        writer.result()
    assert len(written) > 10
    check("DP-03", f"0 wrong of {READS:,}", f"{wrong} wrong of {READS:,}, {len(written)} publications", wrong == 0)


@pytest.mark.timeout(600)
def test_published_parts_of_any_state_are_whole(check: Check) -> None:
    """Any counts, any number of variants, any limits that fit: sum, floors, ids, digest, and nothing infinite."""
    rng = random.Random(11)
    wrong = 0
    for turn in range(STATES):
        if turn % 20 == 0:
            log = random_experiment(rng)
        fill(log, rng)
        Reallocate(log.publications, lambda _, log=log: log.store).recompute("checkout")
        wrong += not is_whole(log)
    check("DP-05", f"0 wrong of {STATES:,}", f"{wrong} wrong of {STATES:,}")


def random_experiment(rng: random.Random) -> Log:
    k = rng.choice([1, 2, 3, 5, 12])
    floor = rng.choice([0, 0.001, 0.05, 1 / k]) if k < 12 else 0.01
    variants = [{"id": "control"}, *({"id": f"v{n}"} for n in range(1, k))]
    limits = {"min_trials": 0, "cooldown_seconds": 0, "max_step": rng.choice([0.001, 0.1, 1]), "min_weight": floor}
    strategy = rng.choice(["thompson", "top_two", "heuristic"])
    log = Log(variants=variants, strategy=strategy, constraints=limits)
    log.drain()
    return log


def fill(log: Log, rng: random.Random) -> None:
    """Statistics of a life that nobody lived."""
    state = log.state()
    for variant in state.definition.variant_ids:
        n = rng.choice([0, 1, 17, 1000, 10**6, 10**12])
        won = rng.choice([0, n, n // 2, rng.randrange(n + 1)])
        state.trials[1, variant] = n
        state.cells[1, variant, "converted"] = Cell(n, won, won)
    assert isinstance(log.store, MemoryPartition)
    log.store._state.stats["checkout"] = state.fields()
    log.store.report_drain()


def is_whole(log: Log) -> bool:
    """What `Allocation` does not check by itself (it checks sum, ranges and digest when it is read)."""
    current = log.publications.read("checkout")
    assert current is not None
    assert current.allocation is not None
    allocation = Allocation.model_validate_json(current.allocation.model_dump_json())
    floor = int(current.experiment.constraints.min_weight * PARTS)
    return tuple(allocation.weights) == current.experiment.variant_ids and min(allocation.weights.values()) >= floor


_DIGESTS = """
import random
from faults.test_decisions import fill, random_experiment
from trimtab_worker.services.reallocate import Reallocate
rng, found = random.Random(5), []
for _ in range(15):
    log = random_experiment(rng)
    fill(log, rng)
    decision = Reallocate(log.publications, lambda _: log.store).recompute("checkout")
    allocation = log.publications.read("checkout").allocation
    found.append(decision.model_dump_json())
    found.append(allocation.model_copy(update={"incarnation": "", "digest": ""}).model_dump_json())
from hashlib import sha256
print(sha256("".join(found).encode()).hexdigest())
"""


def test_the_same_inputs_give_the_same_bytes_in_any_process(check: Check) -> None:
    """Whatever order sets and hashes take there; the incarnation alone is random."""
    digests = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TRIMTAB_LOG_LEVEL": "CRITICAL"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", _DIGESTS], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        digests.append(done.stdout.split()[-1])
    check("DP-12", digests[0], digests[1])
