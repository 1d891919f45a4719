"""`POST /v1/events`: what is answered with 202 is counted exactly once; everything else is said and leaves no trace."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import requests

from gateways import RunningGateway, running_gateway
from logs import Log
from servers import plain_client, start_server, wait_until
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.schema.keys import PartitionKeys
from trimtab_worker.embedded import EmbeddedServer

EVENTS = PartitionKeys(0).events
CLOUD, CLOUDS = "application/cloudevents+json", "application/cloudevents-batch+json"
MIB = 1 << 20


@pytest.fixture
def log(redis_client: redis.Redis) -> Log:
    """A started experiment that counts units."""
    return Log(RedisPartition(redis_client, 0), RedisPublications(redis_client), unit="unit")


@pytest.fixture
def gateway(server: EmbeddedServer, log: Log) -> Iterator[RunningGateway]:
    with running_gateway(server.url) as running:
        yield running


@pytest.fixture
def event(log: Log) -> Callable[..., dict[str, Any]]:
    """A good event as a producer writes it, for the server's present."""
    now = log.store.now()

    def build(number: int = 1, **changes: Any) -> dict[str, Any]:
        return {
            "experiment_id": "checkout",
            "variant": "b",
            "unit_id": f"user-{number}",
            "event_id": f"event-{number}",
            "epoch": 1,
            "occurred_at": now,
            "metrics": {"converted": number % 2},
            **changes,
        }

    return build


def cloud(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "trimtab.outcome", "data": data, **changes}


def send(gateway: RunningGateway, document: Any, media_type: str = "application/json", **headers: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return gateway.post("/v1/events", data=body, headers={"Content-Type": media_type, **headers})


def counted(log: Log) -> int:
    """Trials of b after everything in the log was folded; nothing of it became a dead letter."""
    log.drain()
    assert log.dead_codes() == []
    return log.state().trials[1, "b"]


def test_one_event_is_counted(gateway: RunningGateway, log: Log, event: Any) -> None:
    answer = send(gateway, event())
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert counted(log) == 1
    assert log.cell("b").total == 1


def test_a_batch_is_counted_whatever_it_mixes(gateway: RunningGateway, log: Log, event: Any) -> None:
    """Several epochs, none, one lone event, optional fields in some rows only."""
    rows = [event(n) for n in range(100)]
    rows += [event(100, epoch=None), event(101, segment="de", features={"plan": "pro"}, metrics={"amount": 2.5})]
    assert send(gateway, rows).json() == {"accepted": 102}
    log.drain()
    assert (sum(log.state().trials.values()), log.dead_codes()) == (102, [])
    assert (log.cell("b").n, log.cell("b", "amount").total) == (101, 2_500_000)


def test_a_batch_becomes_few_entries(gateway: RunningGateway, redis_client: redis.Redis, event: Any) -> None:
    before = redis_client.xlen(EVENTS)
    send(gateway, [event(n) for n in range(500)])
    assert redis_client.xlen(EVENTS) == before + 1


def test_more_metrics_than_a_batch_of_columns_holds_travel_as_rows(
    gateway: RunningGateway, log: Log, event: Any
) -> None:
    rows = [event(n, metrics={"converted": 1, f"other-{n}": 1}) for n in range(40)]
    assert send(gateway, rows).status_code == 202
    assert counted(log) == 40


def test_what_is_sent_again_under_its_event_ids_counts_once(gateway: RunningGateway, log: Log, event: Any) -> None:
    for _ in range(3):
        assert send(gateway, [event(n) for n in range(10)]).status_code == 202
        assert send(gateway, event(3)).status_code == 202
    assert counted(log) == 10


def test_an_idempotency_key_names_what_has_no_event_id(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    """Where events are counted, nothing else tells a repeated request from a new one."""
    log = Log(RedisPartition(redis_client, 0), RedisPublications(redis_client), unit="event")
    row = {"experiment_id": "checkout", "variant": "b", "epoch": 1, "occurred_at": log.store.now()}
    rows = [{**row, "metrics": {"converted": 1}}] * 3
    with running_gateway(server.url) as gateway:
        for key in ("first", "first", "second"):
            assert send(gateway, rows, **{"Idempotency-Key": key}).status_code == 202
        assert send(gateway, rows, **{"Idempotency-Key": "x" * 201}).status_code == 400
    assert counted(log) == 6


@pytest.mark.parametrize("media_type", [CLOUD, CLOUDS])
def test_cloud_events_count_once_by_source_and_id(
    gateway: RunningGateway, log: Log, event: Any, media_type: str
) -> None:
    """Subject and time stand in for the unit and the instant that the data do not name."""
    now = event()["occurred_at"]
    lean = {"experiment_id": "checkout", "variant": "b", "epoch": 1, "metrics": {"converted": 1}}
    envelopes = [
        cloud(lean, subject="user-1", time=now),
        cloud(lean, subject="user-1", time=now),  # the same
        cloud(lean, subject="user-2", time=now, id="2"),
        cloud({**lean, "unit_id": "user-3", "occurred_at": now}, source="/other"),
        cloud({**lean, "unit_id": "user-4", "occurred_at": now}, source="/" + "x" * 400),  # longer than an event id
        cloud({**lean, "unit_id": "user-4", "occurred_at": now}, source="/" + "x" * 400),
    ]
    for _ in range(2):
        for document in [envelopes] if media_type == CLOUDS else envelopes:
            assert send(gateway, document, media_type).status_code == 202
    assert counted(log) == 4
    assert log.state().counters["duplicates"] == 8


def test_cloud_events_may_have_their_attributes_in_headers(gateway: RunningGateway, log: Log, event: Any) -> None:
    attributes = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "outcome", "subject": "us%20er"}
    headers = {f"ce-{name}": value for name, value in attributes.items()}
    data = {name: value for name, value in event().items() if name not in ("unit_id", "event_id")}
    for _ in range(2):
        assert send(gateway, data, **headers).status_code == 202
    assert counted(log) == 1


def test_one_bad_row_refuses_all_and_every_bad_row_has_its_reason(
    gateway: RunningGateway, redis_client: redis.Redis, event: Any
) -> None:
    before = redis_client.xlen(EVENTS)
    bad = [
        ({"variant": "b"}, "missing_field"),
        (event(variant="{b}"), "invalid_field"),
        (event(metrics={}), "invalid_field"),
        (event(metrics={"converted": "1"}), "invalid_value"),
        (event(metrics={"converted": True}), "invalid_value"),
        (event(v=2), "schema_version"),
        (event(epoch=0), "invalid_field"),
        (event(occurred_at="yesterday"), "invalid_field"),
        (event(occurred_at="2026-11-21T08:00:00"), "invalid_field"),
        (event(unit_id="x" * 257), "invalid_field"),
        (event(origin="import"), "invalid_field"),
        (event(experiment_id="a}:x{"), "invalid_field"),
        ("text", "invalid_field"),
    ]
    answer = send(gateway, [event(), *(row for row, _ in bad)])
    found = answer.json()
    assert (answer.status_code, found["code"]) == (400, "invalid_events")
    assert [(reason["row"], reason["code"]) for reason in found["reasons"]] == [
        (place + 1, code) for place, (_, code) in enumerate(bad)
    ]
    assert redis_client.xlen(EVENTS) == before


def test_unknown_experiments_do_not_reach_the_log(
    gateway: RunningGateway, redis_client: redis.Redis, event: Any
) -> None:
    before = redis_client.xlen(EVENTS)
    answer = send(gateway, [event(), event(experiment_id="nope")])
    assert answer.status_code == 400
    assert answer.json()["reasons"] == [
        {"row": 1, "code": "unknown_experiment", "detail": "there is no experiment 'nope'"}
    ]
    assert (redis_client.xlen(EVENTS), redis_client.keys("*nope*")) == (before, [])


def test_a_cloud_event_that_is_none_says_which(gateway: RunningGateway, event: Any) -> None:
    envelopes = [cloud(event()), cloud(event(), source="a b"), cloud(event(), specversion="0.3"), {"id": "1"}]
    answer = send(gateway, envelopes, CLOUDS)
    assert (answer.status_code, [reason["row"] for reason in answer.json()["reasons"]]) == (400, [1, 2, 3])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"a": NaN}', b"\xff", b"[" * 9 + b"]" * 9, b"[" * 2000 + b"]" * 2000]
)
def test_what_is_no_json_of_the_right_form_is_refused(gateway: RunningGateway, body: bytes) -> None:
    answer = send(gateway, body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


def test_too_much_at_once_is_413(gateway: RunningGateway, redis_client: redis.Redis, event: Any) -> None:
    before = redis_client.xlen(EVENTS)
    large = event(features={f"f{n}": "x" * 300 for n in range(32)})
    for document in ([event()] * 501, b" " * (MIB + 1), large):
        answer = send(gateway, document)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert redis_client.xlen(EVENTS) == before


def test_a_body_without_end_is_cut_at_its_limit(gateway: RunningGateway) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    answer = gateway.post("/v1/events", data=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes(gateway: RunningGateway) -> None:
    """SE-08: nothing is read, so nothing is kept."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as caller:
        head = ["POST /v1/events HTTP/1.1", "Host: x", "Content-Type: application/json", "Content-Length: 999999999"]
        caller.sendall("\r\n".join([*head, "", ""]).encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "", "application/json; charset=latin-1"])
def test_other_media_types_are_415(gateway: RunningGateway, event: Any, media_type: str) -> None:
    assert send(gateway, event(), media_type).status_code == 415


def test_parameters_of_the_media_type_do_not_matter(gateway: RunningGateway, event: Any) -> None:
    assert send(gateway, event(), "Application/JSON; charset=UTF-8").status_code == 202


def test_a_log_that_is_behind_slows_producers_down_until_it_is_read(
    server: EmbeddedServer, log: Log, event: Any
) -> None:
    with running_gateway(server.url, max_unread_entries=5) as gateway:
        for number in range(10):
            log.row(event(number))
        wait_until(lambda: send(gateway, event(20)).status_code == 429, what="back-pressure")
        answer = send(gateway, event(20))
        assert (answer.json()["code"], answer.headers["retry-after"]) == ("slow_down", "5")
        log.drain()
        wait_until(lambda: send(gateway, event(20)).status_code == 202, what="relief")


def test_a_full_server_slows_producers_down_and_keeps_what_was_confirmed(own_server: EmbeddedServer) -> None:
    """RC-05: refused by the server at first, by the gateway's own look from then on; allocations are still served."""
    with plain_client(own_server.url) as client, running_gateway(own_server.url) as gateway:
        log = Log(RedisPartition(client, 0), RedisPublications(client), unit="unit")
        now = log.store.now()

        def row(number: int) -> dict[str, Any]:
            base = {"experiment_id": "checkout", "variant": "b", "epoch": 1, "occurred_at": now}
            return {**base, "unit_id": f"user-{number}", "event_id": str(number), "metrics": {"converted": 1}}

        assert send(gateway, [row(1), row(2)]).status_code == 202
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 1)
        for document in (row(3), [row(4), row(5) | {"epoch": None}]):
            answer = send(gateway, document)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
            assert "memory" in answer.json()["detail"]
        assert gateway.weights().status_code == 200
        log.control.hold("checkout", reason="a full server")
        wait_until(lambda: gateway.weights().json()["status"] == "held", what="a publication on a full server")
        client.config_set("maxmemory", 0)
        wait_until(lambda: send(gateway, row(3)).status_code == 202, 30, what="relief")
        assert counted(log) == 3


def test_a_lost_data_server_is_503_and_what_was_confirmed_is_there_when_it_returns(
    own_server: EmbeddedServer,
) -> None:
    with plain_client(own_server.url) as client, running_gateway(own_server.url) as gateway:
        log = Log(RedisPartition(client, 0), RedisPublications(client), unit="unit")
        row = {"experiment_id": "checkout", "variant": "b", "epoch": 1, "metrics": {"converted": 1}}
        row |= {"occurred_at": log.store.now(), "unit_id": "u", "event_id": "e"}
        assert send(gateway, row).status_code == 202
        own_server.kill()
        answer = send(gateway, row)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        own_server.start()
        wait_until(lambda: send(gateway, row).status_code == 202, 30, what="the data server's return")
        wait_until(client.ping)
        assert counted(log) == 1


def test_a_server_without_a_log_says_so(tmp_path: Any) -> None:
    with start_server(tmp_path / "server") as server, plain_client(server.url) as client:
        client.sadd("trimtab:experiments", "checkout")
        with running_gateway(server.url) as gateway:
            row = {"experiment_id": "checkout", "variant": "b", "occurred_at": 1, "metrics": {"converted": 1}}
            answer: requests.Response = send(gateway, row)
            assert (answer.status_code, "no event log yet" in answer.json()["detail"]) == (503, True)
