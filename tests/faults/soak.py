"""A long run under fire: workers and servers killed, replies lost, events sent twice; then every count is checked.

`make soak` runs it at full size and prints a table; the suite runs it smaller.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import redis

from faults.processes import Crew, drain_for_ever, recompute_for_ever
from faults.proxy import Proxy
from servers import plain_client, start_server, wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.client.control import Control
from trimtab.client.publisher import Publisher
from trimtab.clock import system_clock
from trimtab.schema.allocation import Allocation
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.rebuild import rebuild

NAME = "soak"
VARIANTS = ("a", "b", "c")
DUPLICATES = 0.05
LOSS = 0.01
LOOK_EVERY = 500  # events between two looks at the served epoch


class Line(NamedTuple):
    """One check of the run."""

    name: str
    expected: str
    observed: str
    ok: bool


@dataclass
class Plan:
    """How long and how rough."""

    events: int = 300_000
    worker_kills: int = 24
    server_kills: int = 6
    seed: int = 1
    batch_events: int = 200


@dataclass
class Soak:
    """One run; `lines` tells afterwards what was expected and what was observed."""

    plan: Plan
    directory: Path
    expected: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    sent: int = 0

    def run(self) -> list[Line]:
        started = time.monotonic()
        rng = random.Random(self.plan.seed)
        with start_server(self.directory) as server, Proxy(server.url, loss=LOSS, seed=self.plan.seed) as proxy:
            client: redis.Redis
            with plain_client(server.url) as client, connect(server.url) as ours:
                self._create(ours)
                with Crew() as crew, Reader(server.url) as reader:
                    for _ in range(3):
                        crew.add(drain_for_ever, proxy.url)
                    for _ in range(2):
                        crew.add(recompute_for_ever, proxy.url, NAME)
                    publisher = self._publish(proxy, client, rng, self._accidents(rng, crew, server))
                    store = RedisPartition(ours, 0)
                    wait_until(lambda: self._all_folded(store), 120, what="the fold of all events")
                return [
                    Line("worker kills", f"≥ {self.plan.worker_kills}", str(len(crew.killed)),
                         len(crew.killed) >= self.plan.worker_kills),
                    Line("replies lost on the way", "> 0", f"{proxy.lost:,} of {proxy.replies:,}", proxy.lost > 0),
                    *self._publisher_lines(publisher),
                    *self._count_lines(store),
                    *self._revision_lines(RedisPublications(ours), reader),
                    *self._rebuild_lines(store),
                    Line("seconds", "≤ 300", f"{time.monotonic() - started:.0f}", time.monotonic() - started <= 300),
                ]  # fmt: skip

    def _create(self, ours: redis.Redis) -> None:
        publications = RedisPublications(ours)
        publications.create_log(1)
        control = Control.over(publications, lambda number: RedisPartition(ours, number), by="soak")
        control.create(
            {
                "id": NAME,
                "variants": [{"id": name} for name in VARIANTS],
                "metrics": [{"name": "won", "kind": "binary", "primary": True}],
                "unit": "event",
                "constraints": {"min_trials": 1000, "max_step": 0.02, "min_weight": 0.05, "cooldown_seconds": 0},
                "recompute_seconds": 1,
            }
        )
        control.start(NAME)

    def _accidents(self, rng: random.Random, crew: Crew, server: EmbeddedServer) -> dict[int, Callable[[], Any]]:
        """What happens at which event, at random places of the run."""

        def fall() -> None:
            server.kill()
            server.start()

        places = rng.sample(range(self.plan.events), self.plan.worker_kills + self.plan.server_kills)
        acts: list[Callable[[], Any]] = [lambda: crew.kill_one(rng)] * self.plan.worker_kills
        return dict(zip(places, acts + [fall] * self.plan.server_kills, strict=True))

    def _publish(
        self, proxy: Proxy, client: redis.Redis, rng: random.Random, accidents: dict[int, Callable[[], Any]]
    ) -> Publisher:
        epoch = 1
        with Publisher(proxy.url, max_batch_events=self.plan.batch_events, linger_seconds=0.002) as publisher:
            for number in range(self.plan.events):
                if number % LOOK_EVERY == 0:
                    epoch = wait_until(lambda: served_epoch(client), 30, what="an allocation")
                event = self._event(number, epoch, rng)
                self.expected[epoch, event["variant"], "n"] += 1
                self.expected[epoch, event["variant"], "won"] += event["metrics"]["won"]
                copies = 2 if rng.random() < DUPLICATES else 1
                for _ in range(copies):
                    publisher.publish(**event)
                self.sent += copies
                if act := accidents.get(number):
                    act()
            publisher.flush(120)
        return publisher

    def _event(self, number: int, epoch: int, rng: random.Random) -> dict[str, Any]:
        return {
            "experiment_id": NAME,
            "variant": rng.choice(VARIANTS),
            "event_id": f"e{number}",
            "occurred_at": system_clock(),
            "epoch": epoch,
            "metrics": {"won": int(rng.random() < 0.3)},
        }

    def _all_folded(self, store: RedisPartition) -> bool:
        counters = store.load().counters
        return counters["folded"] + counters["dead"] >= self.plan.events and (
            store.load().cursor.id == store.ends().last_id
        )

    def _publisher_lines(self, publisher: Publisher) -> Iterator[Line]:
        yield Line("confirmed", f"{self.sent:,}", f"{publisher.sent:,}", publisher.sent == self.sent)

    def _count_lines(self, store: RedisPartition) -> Iterator[Line]:
        state, counters = store.load_experiments([NAME])[NAME], store.load().counters
        assert state is not None
        counted = Counter({(epoch, variant, "n"): n for (epoch, variant), n in state.trials.items()})
        counted.update({(epoch, variant, "won"): cell.total for (epoch, variant, _), cell in state.cells.items()})
        lost, double = self.expected - counted, counted - self.expected
        n_lost = sum(n for (_, _, what), n in lost.items() if what == "n")
        n_double = sum(n for (_, _, what), n in double.items() if what == "n")
        copies = self.sent - self.plan.events
        yield Line("events counted", f"{self.plan.events:,}", f"{counters['folded']:,}",
                   counters["folded"] == self.plan.events)  # fmt: skip
        yield Line("lost", "0", str(n_lost), not lost)
        yield Line("counted twice", "0", str(n_double), not double)
        yield Line("producer duplicates found", f"≥ {copies:,}", f"{counters['duplicates']:,}",
                   counters["duplicates"] >= copies)  # fmt: skip
        yield Line("dead letters", "0", str(counters["dead"]), counters["dead"] == 0)
        yield Line("epochs × variants compared", "all equal", f"{len(self.expected) // 2} cells", not lost | double)

    def _revision_lines(self, publications: RedisPublications, reader: Reader) -> Iterator[Line]:
        current = publications.read(NAME)
        assert current is not None
        assert current.allocation is not None
        # Creating writes no entry; every publication since is an entry, or one more in the count of the last hold.
        accounted = 1 + sum(getattr(entry, "count", 1) for entry in publications.ledger(NAME, 10_000))
        yield Line("revisions, each in the ledger", f"{current.revision:,}", f"{accounted:,}",
                   accounted == current.revision)  # fmt: skip
        yield Line("newest epoch", "> 3", str(current.allocation.epoch), current.allocation.epoch > 3)
        yield Line("reads: torn or backward", "0", f"{reader.wrong} of {reader.reads:,}", reader.wrong == 0)

    def _rebuild_lines(self, store: RedisPartition) -> Iterator[Line]:
        report = rebuild(store, verify=True)
        yield Line("state == fold(log)", report.state_digest[:12], report.replay_digest[:12], report.identical)


class Reader:
    """Reads the polled key as fast as it can: every document must be whole, and none older than the one before."""

    def __init__(self, url: str) -> None:
        self.reads = self.wrong = 0
        self._url = url
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _read(self) -> None:
        last = 0
        with plain_client(self._url) as client:
            while not self._ending.wait(0.0005):
                try:
                    raw = client.get(ExperimentKeys(NAME).weights)
                except redis.RedisError:
                    continue  # the server is down at the moment
                try:
                    revision = Allocation.model_validate_json(raw).revision
                except ValueError:
                    revision = -1
                self.wrong += revision < last
                self.reads += 1
                last = max(last, revision)


def served_epoch(client: redis.Redis) -> int:
    raw = client.get(ExperimentKeys(NAME).weights)
    return Allocation.model_validate_json(raw).epoch


def main(arguments: list[str]) -> int:
    """Run at full size and print the table; 0 if every line holds."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=Plan.events)
    parser.add_argument("--worker-kills", type=int, default=Plan.worker_kills)
    parser.add_argument("--server-kills", type=int, default=Plan.server_kills)
    given = parser.parse_args(arguments)
    plan = Plan(given.events, given.worker_kills, given.server_kills, given.seed)
    with tempfile.TemporaryDirectory() as directory:
        lines = Soak(plan, Path(directory)).run()
    print(f"{plan.events:,} events, {plan.server_kills} server kills, seed {plan.seed}")  # noqa: T201
    for line in lines:
        print(f"{'ok  ' if line.ok else 'FAIL'}  {line.name:32} {line.expected:>14}  →  {line.observed}")  # noqa: T201
    return 0 if all(line.ok for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
