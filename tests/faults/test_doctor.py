"""OB-02: `trimtab doctor` on a real server ends with 0 where all is well, and with 1 at each fault that is put in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from faults.reporting import Check
from logs import batch, event
from servers import plain_client
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.client.control import Control
from trimtab.schema.signing import Keyring
from trimtab_worker import app, health
from trimtab_worker.cli import run
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.signing import issue
from users import start_with_users, url_of

System = tuple[EmbeddedServer, redis.Redis, RedisPartition]


@pytest.fixture
def system(tmp_path: Path, broker: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A data server with users, an experiment with outcomes, and signs of life of every role."""
    with start_with_users(tmp_path) as server, plain_client(server.url) as admin, connect(server.url) as client:
        monkeypatch.setenv("REDIS_URL", url_of(server, "operator"))
        monkeypatch.setenv("BROKER_URL", broker.url)
        definition = {"id": "checkout", "variants": [{"id": "control"}, {"id": "b"}]}
        control = Control(server.url, by="tester")
        control.create({**definition, "metrics": [{"name": "converted", "kind": "binary"}]})
        control.start("checkout")
        store = RedisPartition(client, 0)
        for role in ("ingest", "decide", health.BEAT):
            health.report(client, role, f"{role}@here", 600)
        outcomes(store, 0)
        yield server, admin, store


def outcomes(store: RedisPartition, first: int) -> None:
    now = store.now()
    rows = [event(unit_id=f"u{first + n}", occurred_at=now) for n in range(50)]
    document = batch(rows, base=now, offsets=[0] * len(rows), sent_at=now)
    store.append("batch", json.dumps(document).encode())
    Ingest(store).drain(holder="test")


def aof_off(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].config_set("appendonly", "no")


def eviction_on(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].config_set("maxmemory-policy", "allkeys-lru")


def rights_too_wide(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].execute_command("ACL", "SETUSER", "trimtab-operator", "+@all")


def rights_too_narrow(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].execute_command("ACL", "SETUSER", "trimtab-operator", "-copy")


def messages_delivered_twice(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "VISIBILITY_TIMEOUT_SECONDS", 60)


def clock_off(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 2_000_000_000)


def marks_in_another_form(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].config_set("set-max-intset-entries", 0)
    outcomes(system[2], 1000)


def entries_gone(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[2].append("event", b"{}")
    system[1].xtrim("trimtab:{p0}:events", maxlen=0, approximate=False)


def secret_missing(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring((b"s" * 32,))
    store = RedisPartition(system[2]._client, 0, keyring=ring)
    issue([store], ring, "web")
    Ingest(store).drain(holder="test")


def worker_silent(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[1].delete("trimtab:heartbeat:ingest:any")


def setting_misspelled(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_PARTITION", "2")


def broker_shared(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_URL", system[0].url)


def server_away(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    system[0].kill()


FAULTS: dict[Callable[[System, pytest.MonkeyPatch], None], str] = {
    aof_off: "append-only file",
    eviction_on: "noeviction",
    rights_too_wide: "rights",
    rights_too_narrow: "rights",
    messages_delivered_twice: "visibility timeout",
    clock_off: "clock skew",
    marks_in_another_form: "marks of partition 0",
    entries_gone: "log of partition 0",
    secret_missing: "signatures of partition 0",
    worker_silent: "heartbeat of ingest",
    setting_misspelled: "settings",
    broker_shared: "broker apart",
    server_away: "data server",
}


def found_wrong(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = run(["doctor", "--json"])
    return code, [finding["name"] for finding in json.loads(capsys.readouterr().out) if not finding["ok"]]


def test_a_system_in_which_all_is_well(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    assert found_wrong(capsys) == (0, [])
    assert RedisPublications(system[2]._client).experiments() == ["checkout"]


@pytest.mark.parametrize("put_in", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_is_found(
    put_in: Callable[[System, pytest.MonkeyPatch], None],
    system: System,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    check: Check,
) -> None:
    put_in(system, monkeypatch)
    code, wrong = found_wrong(capsys)
    check("OB-02", f"exit 1: {FAULTS[put_in]}", f"exit {code}: {', '.join(wrong)}")
