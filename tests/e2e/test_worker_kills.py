"""kill -9 of worker processes, again and again, while 100,000 events flow: nothing is lost, nothing counted twice."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter

import pytest

from e2e.conftest import RunningSystem
from e2e.processes import alive, first_child
from servers import wait_until
from trimtab.client.publisher import Publisher
from trimtab.clock import system_clock

EVENTS = 100_000
KILLS = 10
NAME = "killing"


@pytest.mark.timeout(240)
def test_ten_kills_during_100_000_events_lose_and_double_nothing(system: RunningSystem) -> None:
    """The ingest worker's parent and its children, and the decide worker's, in turn, while the publisher goes on."""
    definition = {
        "id": NAME,
        "variants": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
        "metrics": [{"name": "won", "kind": "binary", "primary": True}, {"name": "spent", "kind": "revenue"}],
        "constraints": "explore_defaults",
        "recompute_seconds": 1,
    }
    system.cli("experiment", "create", "-", "--start", stdin=json.dumps(definition))
    rng = random.Random(7)
    expected: Counter[tuple[str, str]] = Counter()
    killed: list[int] = []
    with Publisher(system.redis_url, max_batch_events=500) as publisher:
        for number in range(EVENTS):
            publish(publisher, number, rng, expected)
            if number % (EVENTS // KILLS) == EVENTS // KILLS // 2:
                killed.append(kill_one(system, len(killed)))
        publisher.flush(60)
        assert (publisher.sent, publisher.failed) == (EVENTS, 0)
    assert len(set(killed)) == KILLS

    wait_until(lambda: folded(system) >= EVENTS, 120, what="every event folded")
    found = system.json("stats", NAME)
    counted = Counter({(v, "n"): n for v, n in found["trials"].items()})
    for variant, sums in found["totals"].items():
        counted[variant, "won"] = int(sums["won"]["total"])
        counted[variant, "cents"] = sums["spent"]["scaled_total"] // 10_000
    assert counted == expected
    assert (found["folded"], found["duplicates"], found["dead"]) == (EVENTS, 0, {})
    assert system.json("rebuild", NAME, "--verify")["identical"] is True
    assert "was ended by SIGKILL; restarting it" in system.said()


def publish(publisher: Publisher, number: int, rng: random.Random, expected: Counter[tuple[str, str]]) -> None:
    variant, won, cents = rng.choice("abc"), rng.random() < 0.3, rng.randrange(10_000)
    publisher.publish(
        experiment_id=NAME,
        variant=variant,
        unit_id=f"unit-{number}",
        epoch=1,
        metrics={"won": int(won), "spent": cents / 100},
        occurred_at=system_clock(),
    )
    expected[variant, "n"] += 1
    expected[variant, "won"] += won
    expected[variant, "cents"] += cents


def kill_one(system: RunningSystem, turn: int) -> int:
    """Kill a worker's pool child on even turns, a worker's parent on odd ones; every third victim decides."""
    name = "decide" if turn % 3 == 2 else "ingest"

    def find() -> int:
        parent = alive(system.pids.get(name))
        return parent if turn % 2 else first_child(parent)

    victim = wait_until(find, 60, what=f"{name} running again")
    os.kill(victim, signal.SIGKILL)
    return victim


def folded(system: RunningSystem) -> int:
    return int(system.json("stats", NAME)["folded"])
