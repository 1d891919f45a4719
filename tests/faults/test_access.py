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
from trimtab.client.control import Control
from trimtab.client.flags import FlagClient
from trimtab.client.publisher import Publisher
from trimtab.clock import system_clock
from trimtab.settings import Settings
from trimtab_worker import health
from trimtab_worker.bootstrap import Services
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services import dead
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.rebuild import rebuild
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
    ("DEL", EVENTS + "-gone"): PEOPLE,
    ("GET", WEIGHTS): {"flags", "gateway", "monitor", *PEOPLE},
    ("SET", WEIGHTS, "forged"): PEOPLE,
    ("SET", "trimtab:fence", "1"): {"gateway"},
    ("GET", "another"): set(),
    ("SET", "another", "1"): set(),
    ("HGET", "trimtab:log", "partitions"): set(ROLES) - {"flags"},
    ("HSETNX", "trimtab:log", "life", "x"): {"producer", "operator"},
    ("HSET", "trimtab:log", "partitions", "9"): set(),
    ("HGETALL", CUR): {"gateway", "monitor", *PEOPLE},
    ("HSET", CUR, "noted", "1"): PEOPLE,
    ("HGETALL", STATS): {"monitor", *PEOPLE},
    ("SMEMBERS", "trimtab:experiments"): {"gateway", "monitor", *PEOPLE},
    ("ZADD", "trimtab:{checkout}:clients", "1", "x"): {"flags"},
    ("EVAL", "return 1", "0"): {"gateway", *PEOPLE},
    ("EVAL", "return redis.call('SET', KEYS[1], 'forged')", "1", WEIGHTS): PEOPLE,
    ("SCRIPT", "LOAD", "return 1"): {"monitor", *PEOPLE},
    ("SCRIPT", "FLUSH"): set(),
    ("FUNCTION", "LIST"): set(),
    ("PUBLISH", "trimtab:{checkout}:notices", "1"): PEOPLE,
    ("PUBLISH", "another", "1"): set(),
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
    """Create, start, publish, serve, fold, decide, look after, send back and rebuild: each by the user meant for it."""
    with connect(url_of(server, "worker")) as client, connect(url_of(server, "operator")) as people:
        control = Control(url_of(server, "operator"), by="operator")
        control.create(definition(unit="unit"))
        control.start("checkout")
        store, publications = RedisPartition(client, 0), RedisPublications(client)
        flags = FlagClient(url_of(server, "flags"), experiments=["checkout"], poll_seconds=0.1)
        with flags, Publisher(url_of(server, "producer")) as publisher:
            for number in range(100):
                served = flags.variant("checkout", f"unit-{number}")
                assert served.epoch == 1
                publisher.publish(_outcome(store, str(served.variant), f"unit-{number}"))
            publisher.publish(_outcome(store, "stranger", "unit-x"))
            publisher.flush(10)
            assert Ingest(store).drain(holder="worker").folded == 100
            health.report(client, "ingest", "ingest@here", 10)
            Maintain(store, 1 << 20).run()
            reallocate = Reallocate(publications, lambda _: store)
            assert reallocate.due(store.now()) == ["checkout"]
            reallocate.recompute("checkout")
            control.add_variant("checkout", "stranger")
            control.halt("checkout", "b", reason="a look")
            halted = control.show("checkout").revision
            wait_until(lambda: flags.variant("checkout", "unit-1").revision == halted, what="the halt at the client")
        theirs = RedisPartition(people, 0)
        assert dead.redrive(theirs, [filed.id for filed in dead.browse(theirs, dead.Wanted())]).events == 1
        assert Ingest(store).drain(holder="worker").folded == 1
        assert rebuild(theirs, verify=True).identical
        assert rebuild(theirs, verify=False).replaced
        health.withdraw(client, "ingest", "ingest@here")


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


def test_the_gateway_works_under_its_user(server: EmbeddedServer) -> None:
    control = Control(url_of(server, "operator"), by="operator")
    control.create(definition())
    control.start("checkout")
    with running_gateway(url_of(server, "gateway")) as gateway:
        wait_until(lambda: gateway.revision() == 2, what="the weights over HTTP")
        sent = gateway.post("/v1/events", json=event(occurred_at=system_clock()))
        assert sent.status_code < 300, sent.text
        control.halt("checkout", "b", reason="a look")
        wait_until(lambda: gateway.revision() == 3, what="the halt over HTTP")
        wait_until(lambda: gateway.desk.intake.gauge.looked_at, what="a look at the log")
    with plain_client(server.url) as admin:
        assert b"event" in admin.xrevrange(EVENTS, count=2)[-1][1]


def test_an_event_of_any_language_needs_one_command(server: EmbeddedServer) -> None:
    Control(url_of(server, "operator"), by="operator").create(definition())
    with plain_client(url_of(server, "producer")) as producer:
        assert producer.xadd(EVENTS, {"event": json.dumps(event())})
