"""SE-07, SE-08: ids that would be keys, and input that would be a burden, on every way in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import requests

from e2e.conftest import clean_environment
from faults.processes import Crew, fold_and_weigh, resident_bytes
from faults.reporting import Check
from gateways import running_gateway, serving
from logs import Log, definition, event
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import BYTES_AT_ONCE

KEY_ATTACKS = ["a}:x{", "*", "../", "x\r\nFLUSHALL\r\n", "x" * 10_240, "сheckout", "", "A", "a b", "trimtab:{p0}:cur"]
LETTERS = {"trimtab:{p0}:dead", "trimtab:{p0}:dead-size"}

# The real commands, one after another in one process; each exit code is printed.
COMMANDS = """
import io, json, sys
from trimtab_worker.cli import run
codes = []
for definition in json.load(sys.stdin):
    sys.stdin = io.StringIO(json.dumps(definition))
    codes += [run(["experiment", "create", "-"]), run(["hold", "--reason", "x", "--", definition["id"]])]
print(json.dumps(codes))
"""


def keys_made(client: redis.Redis, attack: Callable[[], None]) -> set[str]:
    """Which keys there are after the attack that were not there before."""
    before = set(client.keys("*"))
    attack()
    return {key.decode() for key in set(client.keys("*")) - before}


def test_ids_that_would_be_keys_change_no_key_from_the_log(
    log: Log, redis_client: redis.Redis, check: Check
) -> None:
    log.row(event(occurred_at=log.store.now()))
    log.drain()

    def attack() -> None:
        for bad in KEY_ATTACKS:
            log.row(event(experiment_id=bad, occurred_at=log.store.now()))
            log.row(event(variant=bad, occurred_at=log.store.now()))
        log.drain()

    made = keys_made(redis_client, attack)
    assert log.cell("b").n == 1
    check("SE-07", "20 letters, keys made: those of letters", f"{len(log.dead_codes())} letters, keys made: "
          f"{'those of letters' if made == LETTERS else made}")  # fmt: skip


def test_ids_that_would_be_keys_are_refused_by_the_gateway(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    """As experiment, as variant (of which capitals are admitted), and as an address."""
    answers: list[int] = []
    with running_gateway(server.url) as gateway:
        now = log.store.now()

        def attack() -> None:
            for bad in KEY_ATTACKS:
                names: list[dict[str, Any]] = [{"experiment_id": bad}, *([{"variant": bad}] if bad != "A" else [])]
                rows = [event(occurred_at=now, **name) for name in names]
                answers.extend(gateway.post("/v1/events", json=row).status_code for row in rows)
            # What the path makes of "" and "../" is another address.
            addresses = [bad for bad in KEY_ATTACKS if bad not in ("", "../")]
            found = {gateway.weights(experiment=requests.utils.quote(bad, safe="")).status_code for bad in addresses}
            assert found <= {400, 404}

        entries = log.store.ends().entries_added
        made = keys_made(redis_client, attack)
    assert log.store.ends().entries_added == entries
    check("SE-07", "gateway: 19 × 400, keys made: 0", f"gateway: {answers.count(400)} × 400, keys made: {len(made)}")


def test_ids_that_would_be_keys_are_refused_by_commands(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    said: list[subprocess.CompletedProcess[str]] = []

    def attack() -> None:
        said.append(
            subprocess.run(
                [sys.executable, "-c", COMMANDS],
                input=json.dumps([definition(id=bad) for bad in KEY_ATTACKS]),
                env=clean_environment() | {"REDIS_URL": server.url},
                capture_output=True, text=True, timeout=120, check=True,
            )
        )  # fmt: skip

    made = keys_made(redis_client, attack)
    codes = json.loads(said[0].stdout.splitlines()[-1])
    assert "Traceback" not in said[0].stderr
    assert set(codes) <= {1, 2}
    check("SE-07", "commands: 20 refused, keys made: 0", f"commands: {len(codes)} refused, keys made: {len(made)}")


MILLISECONDS = 5
WIDE = {f"m{number}": 1 for number in range(10_000)}
DEEP = b'{"a":' * 1000 + b"1" + b"}" * 1000
LONG = "x" * 2**20


def burdens(now: int) -> list[tuple[str, bytes]]:
    """Field and payload of what is too long, too wide or too deep; a batch is wide by nature."""
    columns = {"v": 1, "experiment_id": "checkout", "epoch": 1, "sent_at": now, "n": 1, "variants": ["b"],
               "variant": [0], "base": now, "metrics": {"converted": [1]}}  # fmt: skip
    return [
        ("event", json.dumps(event(unit_id=LONG, occurred_at=now)).encode()),
        ("event", json.dumps(event(metrics=WIDE, occurred_at=now)).encode()),
        ("event", DEEP),
        ("batch", json.dumps({**columns, "unit_id": [LONG]}).encode()),
        ("batch", DEEP),
    ]


def test_a_burden_costs_the_fold_little_and_leaves_nothing(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    """A process that reads 200 of them. What it does not give back of the second half is at most one read."""
    rounds, each = 40, burdens(log.store.now())
    for number in range(rounds):
        for field, payload in each:
            last = log.store.append(field, payload)
        if number == rounds // 2:
            half = last
    with Crew() as crew:
        crew.add(fold_and_weigh, server.url, half)
        crew.wait()
    weighed = {name.decode(): float(value) for name, value in redis_client.hgetall("test:weighed").items()}
    refused, second = len(log.dead_codes()), (rounds - rounds // 2 - 1) * len(each)
    spent, kept = weighed["ms"] / second, weighed["bytes"] / 2**20
    check("SE-08", f"fold: 200 refused, < {MILLISECONDS} ms each, ≤ {BYTES_AT_ONCE >> 20} MiB kept",
          f"fold: {refused} refused, {spent:.1f} ms each, {kept:.1f} MiB kept",
          refused == 200 and spent < MILLISECONDS and kept <= BYTES_AT_ONCE / 2**20)  # fmt: skip


def test_a_burden_costs_the_gateway_little_and_leaves_nothing(log: Log, server: EmbeddedServer, check: Check) -> None:
    """`trimtab serve`: what it does not give back of 180 requests of up to a megabyte is at most eight of them."""
    bodies = [payload for field, payload in burdens(log.store.now()) if field == "event"]
    before_all = log.store.ends().entries_added
    with serving(server.url) as (process, url), requests.Session() as session:

        def send(times: int) -> list[int]:
            headers = {"Content-Type": "application/json"}
            return [session.post(f"{url}/v1/events", data=body, headers=headers, timeout=60).status_code
                    for _ in range(times) for body in bodies]  # fmt: skip

        send(20)
        memory, rounds = resident_bytes(process.pid), []
        for _ in range(3):  # the best of some, for neighbours on the machine only slow
            spent = cpu_milliseconds(process.pid)
            answers = send(20)
            rounds.append((cpu_milliseconds(process.pid) - spent) / len(answers))
        kept, each = (resident_bytes(process.pid) - memory) / 2**20, min(rounds)
    assert log.store.ends().entries_added == before_all
    check("SE-08", f"gateway: 20 × 413, 400, 400, < {MILLISECONDS} ms each, ≤ 8 MiB kept",
          f"gateway: 20 × {', '.join(map(str, answers[:3]))}, {each:.1f} ms each, {kept:.1f} MiB kept",
          answers == [413, 400, 400] * 20 and each < MILLISECONDS and kept <= 8)  # fmt: skip


def cpu_milliseconds(pid: int) -> float:
    """CPU time that the process has used, by /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
