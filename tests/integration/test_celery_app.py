"""Workers and beat as processes, run by the very commands of docker-compose.yml."""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.reporting import Check
from fleet import HEARTBEAT_SECONDS, READY_SECONDS, STOP_SECONDS, Fleet
from servers import plain_client, wait_until
from trimtab.schema.experiment import Status
from trimtab_worker import health


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Everything that runs, shared by the tests that break nothing."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.create("checkout")
        fleet.start("ingest", "decide", "beat")
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def own_fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Servers of the test's own, on which nothing runs yet."""
    fleet = Fleet(tmp_path)
    try:
        yield fleet
    finally:
        fleet.close()


def test_every_role_shows_signs_of_life_to_a_health_check(fleet: Fleet) -> None:
    host = os.uname().nodename
    for role in ("ingest", "decide", "beat", f"ingest@{host}", f"decide@{host}"):
        assert health.check(role, fleet.settings), role
    assert not health.check("ingest@elsewhere", fleet.settings)
    assert not health.check("analyse", fleet.settings)


def test_outcomes_are_folded_and_decisions_published(fleet: Fleet) -> None:
    before = fleet.folded()
    fleet.publish("checkout", 500)
    wait_until(lambda: fleet.folded() == before + 500, 15, what="the fold of 500 outcomes")
    assert fleet.decides_on("checkout")


def test_an_order_sent_as_a_task_is_carried_out_once(fleet: Fleet) -> None:
    fleet.create("ordered")
    for _ in range(3):
        fleet.sender.send_task(
            "trimtab.hold", args=["ordered"], kwargs={"reason": "incident 42", "command_id": "incident-42"}
        )
    wait_until(lambda: fleet.control.show("ordered").status is Status.HELD, what="the hold")
    fleet.sender.send_task("trimtab.resume", args=["ordered"])
    wait_until(lambda: fleet.control.show("ordered").status is Status.RUNNING, what="the resume")
    fleet.sender.send_task("trimtab.hold", args=["ordered"], kwargs={"command_id": "incident-42"})
    assert fleet.decides_on("ordered")
    assert fleet.control.show("ordered").status is Status.RUNNING


class Canary:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_hostile_messages_run_no_code_change_nothing_and_kill_nobody(
    fleet: Fleet, tmp_path: Path, check: Check
) -> None:
    """SE-01, SE-02: a pickled body, an unknown task, arguments of a wrong kind, shape or number."""
    fleet.create("quiet")
    canary = tmp_path / "canary"
    with plain_client(fleet.broker.url) as broker:
        for queue in ("ingest", "decide"):
            broker.lpush(f"cel:{queue}", pickled_message(queue, Canary(canary)))
    hostile = (("trimtab.absent", []), ("trimtab.drain", [99]), ("trimtab.drain", ["0"]), ("trimtab.drain", []))
    for task, arguments in hostile:
        fleet.sender.send_task(task, args=arguments, queue="ingest")
    for value in ("a}:x{", "*", "x" * 10_000, None, ["quiet"], "quiet\r\nFLUSHALL"):
        fleet.sender.send_task("trimtab.recompute", args=[value])
        fleet.sender.send_task("trimtab.halt", args=[value])
    wait_until(lambda: "'*' is no experiment id" in fleet.log("decide").read_text(), what="refusals by decide")
    for trace in ("ContentDisallowed", "trimtab.absent", "There is no partition 99", "'0' is no partition"):
        wait_until(lambda trace=trace: trace in fleet.log("ingest").read_text(), what=f"{trace} in the log of ingest")
    assert fleet.decides_on("checkout")
    folded = fleet.folded()
    fleet.publish("checkout", 1)
    wait_until(lambda: fleet.folded() > folded, 15, what="the fold after the attack")
    refused = sum(fleet.log(role).read_text().count("ContentDisallowed") > 0 for role in ("ingest", "decide"))
    check("SE-01", "refused by 2 workers, no code run, both alive",
          f"refused by {refused}, code {'run' if canary.exists() else 'not run'}, both fold and decide",
          refused == 2 and not canary.exists())  # fmt: skip
    acts = [entry.act for entry in fleet.services.publications.ledger("quiet", 100) if entry.kind == "act"]
    check("SE-02", "16 hostile tasks: 0 orders carried out", f"{len(acts) - acts.count('start')}", acts == ["start"])
    assert set(fleet.services.publications.experiments()) <= {"checkout", "ordered", "quiet"}


def pickled_message(queue: str, content: object) -> bytes:
    """What Celery would put on its queue if it were allowed to pickle."""
    properties = {
        "correlation_id": str(uuid.uuid4()),
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "delivery_tag": str(uuid.uuid4()),
        "priority": 0,
        "body_encoding": "base64",
    }
    message = {
        "body": base64.b64encode(pickle.dumps(((content,), {}, {}))).decode(),
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
        "headers": {"task": "trimtab.tick", "id": str(uuid.uuid4()), "lang": "py"},
        "properties": properties,
    }
    return json.dumps(message).encode()


def test_what_the_fleet_logs_is_json(fleet: Fleet) -> None:
    lines = [line for role in ("ingest", "decide") for line in fleet.log(role).read_text().splitlines()]
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"drained", "decided"} <= {record["event"] for record in records}


def test_a_killed_worker_falls_silent_and_its_successor_goes_on(own_fleet: Fleet) -> None:
    """Without beat: an ingest worker that starts drains at once, and keeps its chain of nudges going."""
    own_fleet.create("checkout")
    (worker,) = own_fleet.start("ingest").values()
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not health.alive(own_fleet.client, "ingest"), health.MISSED_BEATS * HEARTBEAT_SECONDS + 5)
    own_fleet.publish("checkout", 10)
    own_fleet.start("ingest")
    wait_until(lambda: own_fleet.folded() == 10, 15, what="the fold by the successor")


def test_a_worker_asked_to_end_does_so_in_order_and_withdraws_its_heartbeat(own_fleet: Fleet) -> None:
    """RC-12."""
    (worker,) = own_fleet.start("ingest").values()
    started = time.monotonic()
    worker.terminate()
    assert worker.wait(STOP_SECONDS) == 0
    assert time.monotonic() - started < STOP_SECONDS
    assert not health.alive(own_fleet.client, f"ingest@{os.uname().nodename}")


def test_a_worker_refuses_a_server_that_forgets(own_fleet: Fleet, check: Check) -> None:
    own_fleet.client.config_set("maxmemory-policy", "allkeys-lru")
    worker = own_fleet.launch("ingest")
    code = worker.wait(READY_SECONDS)
    said = "maxmemory-policy to noeviction" in own_fleet.log("ingest").read_text()
    check("RC-06", "evicting server: the worker refuses", f"exit {code}, remedy {'named' if said else 'not named'}",
          code != 0 and said)  # fmt: skip


def test_a_worker_warns_of_a_server_without_an_append_only_file(own_fleet: Fleet, check: Check) -> None:
    own_fleet.client.config_set("appendonly", "no")
    own_fleet.start("decide")
    warned = own_fleet.log("decide").read_text().count("server_unsafe")
    check("RC-06", "no append-only file: the worker warns", f"{warned} warning", warned == 1)
