"""What the log would refuse as not signed, or as without a token, the gateway refuses: no 202 for a dead letter."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from gateways import RunningGateway, running_gateway
from logs import Log, event
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.schema.keys import PartitionKeys
from trimtab.schema.signing import Keyring
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.signing import issue, require, revoke

RING = Keyring((b"s" * 32,))
EVENTS = PartitionKeys(0).events


def log_of(client: redis.Redis, **definition: Any) -> Log:
    return Log(RedisPartition(client, 0, keyring=RING), RedisPublications(client), **definition)


def refusal(gateway: RunningGateway, *rows: Any) -> tuple[int, str]:
    answer = gateway.post("/v1/events", json=list(rows))
    return answer.status_code, answer.json().get("detail", "")


def test_without_a_key_in_force_a_gateway_takes_nothing_that_must_be_signed(
    server: EmbeddedServer, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(redis_client)
    good = event(occurred_at=log.store.now())
    key = issue([log.store], RING, "web")
    log.drain()
    with running_gateway(server.url) as keyless:
        assert refusal(keyless, good)[0] == 202, "unsigned entries are taken so far"
        require([log.store], RING, True)
        log.drain()
        before = redis_client.xlen(EVENTS)
        status, detail = refusal(keyless, good)
        assert (status, "it has no key" in detail, "trimtab keys issue" in detail) == (503, True, True)
    monkeypatch.setenv("TRIMTAB_SIGNING_KEY", key.text())
    with running_gateway(server.url) as gateway:
        assert redis_client.xlen(EVENTS) == before
        assert refusal(gateway, good, good)[0] == 202
        revoke([log.store], RING, "web")
        log.drain()
        status, detail = refusal(gateway, good)
        assert (status, "'web' is not in force" in detail, key.secret.hex() in detail) == (503, True, False)
    assert (log.cell("b").n, log.dead_codes()) == (3, [])


def test_an_outcome_without_a_token_is_refused_where_the_experiment_demands_one(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    log = log_of(redis_client, unit="unit", exposure_tokens=True)
    now = log.store.now()
    key = issue([log.store], RING, "web")
    log.drain()

    def outcome(unit: str, **changes: Any) -> dict[str, Any]:
        token = key.token("checkout", "b", 1, unit, now)
        return {**event(unit_id=unit, occurred_at=now), "token": token, **changes}

    with running_gateway(server.url) as gateway:
        before = redis_client.xlen(EVENTS)
        rows = [outcome("u1"), outcome("u2", token=None), outcome("u3", token="web.1"), outcome("u4", token="x")]
        answer = gateway.post("/v1/events", json=rows)
        found = [(reason["row"], reason["code"]) for reason in answer.json()["reasons"]]
        assert (answer.status_code, found) == (400, [(1, "auth"), (2, "auth"), (3, "auth")])
        assert redis_client.xlen(EVENTS) == before
        assert refusal(gateway, outcome("u1"), outcome("u5", variant="control"))[0] == 202
        new = issue([log.store], RING, "app")  # in force from here on in the log, which nobody has folded yet
        assert refusal(gateway, outcome("u6", token=new.token("checkout", "b", 1, "u6", now)))[0] == 202
    log.drain()
    assert (log.cell("b").n, log.cell("control").n) == (2, 0)
    assert log.dead_codes() == ["auth"], "a token of another exposure needs the secret to be found out"
