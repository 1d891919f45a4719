"""Who may do what on the data server: the whole table, and the product at work under it (SE-03)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateways import running_gateway
from logs import definition, event
from servers import plain_client, wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.adapters.redis.serving import serving
from trimtab.client.control import Control
from trimtab.client.flags import FlagClient
from trimtab.client.publisher import Publisher
from trimtab.schema.signing import Keyring
from trimtab.settings import Settings
from trimtab_worker import health
from trimtab_worker.boot import check_servers
from trimtab_worker.bootstrap import Services
from trimtab_worker.cli import run
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate
from users import ACL, ROLES, start_with_users, url_of

Check = Callable[..., None]

EVENTS, CUR, STATS = "trimtab:{p0}:events", "trimtab:{p0}:cur", "trimtab:{p0}:stats:checkout"
WEIGHTS, LEDGER = "trimtab:{checkout}:weights", "trimtab:{checkout}:ledger"
PEOPLE = {"worker", "operator"}

ALLOWED: dict[tuple[str, ...], set[str]] = {
    ("PING",): set(ROLES),
    ("XADD", EVENTS, "*", "event", "{}"): {"producer", "gateway", *PEOPLE},
    # No rule can forbid an argument: this one is noticed as a gap, and weights hold. Strangers write by the gateway.
    ("XADD", EVENTS, "MAXLEN", "1000000", "*", "event", "{}"): {"producer", "gateway", *PEOPLE},
    ("XADD", LEDGER, "*", "entry", "{}"): PEOPLE,
    ("XADD", "another", "*", "event", "{}"): set(),
    ("XREAD", "STREAMS", EVENTS, "0"): {"monitor", *PEOPLE},
    ("XREVRANGE", LEDGER, "+", "-"): {"monitor", *PEOPLE},
    ("XREVRANGE", "trimtab:{p0}:dead", "+", "-"): PEOPLE,
    ("XRANGE", EVENTS, "-", "+"): PEOPLE,
    ("XTRIM", EVENTS, "MINID", "0"): PEOPLE,
    ("XDEL", EVENTS, "1-1"): PEOPLE,
    ("DEL", EVENTS + "-gone"): {"worker"},
    ("GET", WEIGHTS): {"flags", "gateway", "monitor", *PEOPLE},
    ("SET", WEIGHTS, "forged"): PEOPLE,
    ("SET", "trimtab:fence", "1"): {"gateway"},
    ("GET", "another"): set(),
    ("SET", "another", "1"): set(),
    ("HGET", "trimtab:log", "partitions"): set(ROLES) - {"flags"},
    ("HGET", "trimtab:{checkout}:definition", "definition"): {"gateway", "monitor", *PEOPLE},
    ("HSETNX", "trimtab:log", "life", "x"): {"producer", "operator"},
    ("HSET", "trimtab:log", "partitions", "9"): set(),
    ("HGETALL", CUR): {"gateway", "monitor", *PEOPLE},
    ("HSET", CUR, "noted", "1"): PEOPLE,
    ("HGETALL", STATS): {"monitor", *PEOPLE},
    ("SMEMBERS", "trimtab:experiments"): {"gateway", "monitor", *PEOPLE},
    ("ZADD", "trimtab:{checkout}:clients", "1", "x"): {"flags"},
    ("EVAL", "return 1", "0"): {"gateway"},
    ("EVAL", "return redis.call('SET', KEYS[1], 'forged')", "1", WEIGHTS): set(),
    ("SCRIPT", "LOAD", "return 1"): {"monitor", *PEOPLE},
    ("SCRIPT", "FLUSH"): set(),
    ("FUNCTION", "LIST"): set(),
    ("PUBLISH", "trimtab:{checkout}:notices", "1"): PEOPLE,
    ("PUBLISH", "another", "1"): set(),
    ("ZREVRANGE", "trimtab:{checkout}:clients", "0", "-1"): {"operator"},
    ("PTTL", "trimtab:heartbeat:ingest:any"): {"operator", "monitor"},
    ("INFO", "server"): set(ROLES) - {"flags"},
    ("CONFIG", "GET", "appendfsync"): {"gateway"},
    ("CONFIG", "SET", "appendonly", "yes"): set(),
    ("KEYS", "*"): set(),
    ("SCAN", "0"): set(),
    ("DBSIZE",): set(),
    ("FLUSHALL",): set(),
    ("FLUSHDB",): set(),
    ("SHUTDOWN", "NOSAVE"): set(),
    ("LATENCY", "RESET"): set(),
    ("MONITOR",): set(),
    ("CLIENT", "LIST"): set(),
    ("CLIENT", "KILL", "ID", "999999"): set(),
    ("ACL", "LIST"): set(),
    ("ACL", "SETUSER", "trimtab-flags", "+@all"): set(),
    ("REPLICAOF", "NO", "ONE"): set(),
    ("BGREWRITEAOF",): set(),
    ("SWAPDB", "0", "1"): set(),
    ("RENAME", WEIGHTS, "another"): set(),
    ("MIGRATE", "h", "1", WEIGHTS, "0", "1"): set(),
    ("RESTORE", "another", "0", "x"): set(),
}
"""What each command line is: allowed to these roles, and to nobody else."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with start_with_users(tmp_path) as server:
        yield server


def forbidden(client: redis.Redis, command: tuple[str, ...]) -> bool:
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ResponseError as error:
        return "can't run this command" in str(error) or "ACL failure" in str(error)
    return False


def test_each_role_may_do_what_the_table_says_and_nothing_else(server: EmbeddedServer, check: Check) -> None:
    with plain_client(server.url) as admin:
        admin.hset("trimtab:log", "partitions", 1)
        admin.xadd(EVENTS, {"event": "{}"})
    wrong = []
    for role in ROLES:
        with plain_client(url_of(server, role)) as client:
            wrong += [
                (role, command)
                for command, roles in ALLOWED.items()
                if forbidden(client, command) is (role in roles)
            ]
    assert wrong == []
    check("SE-03", f"{len(ROLES) * len(ALLOWED)} cells", f"{len(ROLES) * len(ALLOWED) - len(wrong)} cells")


def test_nobody_gets_in_without_a_name_and_a_password(server: EmbeddedServer) -> None:
    for line in ACL.read_text(encoding="utf-8").splitlines():
        assert "nopass" not in line or line.startswith("user default off"), "and no password is shipped"
        assert ">" not in line
    stranger = plain_client(server.url.replace("//", "//trimtab-worker:wrong@"))
    with stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.ping()


def test_the_product_works_under_its_users(server: EmbeddedServer) -> None:
    """Create, start, publish, serve, fold, look after, decide, watch, hold: each by the user meant for it."""
    control = Control(url_of(server, "operator"), by="operator")
    control.create(definition(unit="unit"))
    control.start("checkout")
    with connect(url_of(server, "worker")) as client, connect(url_of(server, "operator")) as people:
        check_servers(Settings.load(redis_url=url_of(server, "worker"), broker_url=server.url))
        store, publications = RedisPartition(client, 0), RedisPublications(client)
        flags = FlagClient(url_of(server, "flags"), experiments=["checkout"], poll_seconds=0.1)
        publisher = Publisher(url_of(server, "producer"), max_batch_events=10)  # several batches, so transactions
        with flags, publisher, running_gateway(url_of(server, "gateway")) as gateway:
            for number in range(100):
                served = flags.variant("checkout", f"unit-{number}")
                assert served.epoch == 1
                publisher.publish(_outcome(store, str(served.variant), f"unit-{number}"))
            publisher.flush(10)
            taken = gateway.post("/v1/events", json=[_outcome(store, "b", f"over-http-{n}") for n in range(2)])
            assert taken.status_code == 202, taken.text
            assert Ingest(store).drain(holder="worker").folded == 102
            health.report(client, "ingest", "ingest@here", 10)
            Maintain(store, 1 << 20).run()
            reallocate = Reallocate(publications, lambda _: store)
            assert reallocate.due(store.now()) == ["checkout"]
            assert reallocate.overdue(0, store.now()) == []
            reallocate.recompute("checkout")
            control.hold("checkout", reason="a look")
            held = control.show("checkout").revision
            wait_until(lambda: flags.variant("checkout", "unit-1").revision == held, what="the hold at the client")
            wait_until(lambda: gateway.revision() == held, what="the hold over HTTP")
            wait_until(lambda: gateway.desk.intake.gauge.looked_at, what="a look at the log")
            wait_until(lambda: serving(people, "checkout"), what="the flag client's note")
            assert (flags.counts.errors, flags.counts.subscription_errors, flags.counts.reports_refused) == (0, 0, 0)
        health.withdraw(client, "ingest", "ingest@here")


COMMANDS = """
experiment create --id second --variants control,b --metric converted --start
experiment list
experiment show checkout
experiment update checkout --set description=changed
experiment add-variant checkout stranger
weights checkout --clients
stats checkout
recompute checkout
explain checkout
report checkout
export checkout --format flagd
stream-key checkout
hold checkout --reason look
resume checkout --reason fine
halt checkout --variant b --reason harm
experiment stop second
experiment conclude second b
dead list
dead redrive --all
rebuild 0 --verify
verify 0
rebuild checkout
accept-loss 0 --reason drill
metrics
health ingest
doctor
keys list
keys issue web
keys require
keys revoke web
""".strip().splitlines()
"""What an operator does, each under the operator's rights."""


def test_every_command_of_an_operator_works_under_the_operators_user(
    server: EmbeddedServer,
    broker: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    check: Check,
) -> None:
    monkeypatch.setenv("REDIS_URL", url_of(server, "operator"))
    monkeypatch.setenv("BROKER_URL", broker.url)
    monkeypatch.setenv("TRIMTAB_SIGNING_SECRET", "s" * 32)
    control = Control(url_of(server, "operator"), by="operator")
    control.create(definition())
    control.start("checkout")
    with connect(url_of(server, "worker")) as client:
        store = RedisPartition(client, 0)
        for role in ("ingest", "decide", health.BEAT):
            health.report(client, role, f"{role}@here", 600)
        for variant in ("control", "b", "stranger"):
            store.append("event", json.dumps(_outcome(store, variant, "u")).encode())
        Ingest(store).drain(holder="worker")
        done = []
        for line in COMMANDS:
            assert run(line.split()) == 0, f"{line}: {capsys.readouterr()}"
            done.append(line)
            Ingest(RedisPartition(client, 0, keyring=Keyring((b"s" * 32,)))).drain(holder="worker")
    check("SE-03", f"operator: {len(COMMANDS)} commands, exit 0", f"operator: {len(done)} commands, exit 0")


def _outcome(store: RedisPartition, variant: str, unit_id: str) -> dict[str, Any]:
    return event(variant=variant, unit_id=unit_id, occurred_at=store.now())


def test_the_monitor_sees_all_that_is_measured(server: EmbeddedServer) -> None:
    control = Control(url_of(server, "operator"), by="operator")
    control.create(definition())
    control.start("checkout")
    with connect(url_of(server, "worker")) as client:
        store = RedisPartition(client, 0)
        store.append("event", json.dumps(event(variant="stranger", occurred_at=store.now())).encode())
        store.append("event", b"{nope")
        Ingest(store).drain(holder="worker")
        health.report(client, "ingest", "ingest@here", 10)
        Reallocate(RedisPublications(client), lambda _: store).recompute("checkout")
    services = Services(Settings.load(redis_url=url_of(server, "monitor")))
    told = services.metrics().text()
    services.close()
    for line in (
        "trimtab_up 1.0",
        'trimtab_alive{role="ingest"} 1.0',
        'trimtab_dead_total{code="unknown_variant",experiment="checkout"} 1.0',
        'trimtab_dead_stray_total{code="not_json",partition="0"} 1.0',
        'trimtab_hold{code="min_trials",experiment="checkout"} 1.0',
        'trimtab_lag_entries{partition="0"} 0.0',
    ):
        assert f"\n{line}\n" in told, line


def test_an_event_of_any_language_needs_one_command(server: EmbeddedServer) -> None:
    Control(url_of(server, "operator"), by="operator").create(definition())
    with plain_client(url_of(server, "producer")) as producer:
        assert producer.xadd(EVENTS, {"event": json.dumps(event())})
