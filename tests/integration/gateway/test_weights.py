"""`GET /v1/weights/{experiment}`: the published document, its tag, and waiting for the next one."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import requests

from client_allocations import allocation, document
from gateways import RunningGateway, publish, running_gateway
from servers import plain_client, wait_until
from trimtab_worker.embedded import EmbeddedServer

LONG = "?wait=30"


def test_it_is_the_key_byte_for_byte_under_a_strong_tag(gateway: RunningGateway) -> None:
    answer = gateway.weights()
    assert (answer.status_code, answer.content) == (200, document(1))
    assert answer.headers["etag"] == f'"one.1.{allocation(1).digest[:16]}"'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_who_has_it_gets_304_and_the_tag_again(gateway: RunningGateway, form: str) -> None:
    tag = gateway.weights().headers["etag"]
    answer = gateway.weights(form.format(tag))
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


def test_another_tag_gets_the_document(gateway: RunningGateway) -> None:
    assert gateway.weights('"one.1.0000000000000000"').status_code == 200
    assert gateway.weights('"two.9.0000000000000000"').status_code == 200, "another life of the key"


def test_who_is_ahead_of_this_gateway_is_not_taken_back(gateway: RunningGateway) -> None:
    """Another gateway behind the same address may have been faster."""
    assert gateway.weights('"one.2.0000000000000000"').status_code == 304


def test_a_publication_changes_document_and_tag(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    tag = gateway.weights().headers["etag"]
    publish(redis_client, allocation(2, {"a": 0.4, "b": 0.6}))
    wait_until(lambda: gateway.weights(tag).status_code == 200, what="the new allocation")
    assert gateway.weights(tag).json()["weights"] == {"a": 400_000, "b": 600_000}


def test_a_lost_notice_costs_one_poll(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    publish(redis_client, allocation(2), notify=False)
    wait_until(lambda: gateway.revision() == 2, what="the next poll")


WRONG_DIGEST, OF_ANOTHER = document(9)[:-3] + b'0"}', document(9, experiment_id="x")


@pytest.mark.parametrize("found", [document(1), b"{", b"[]", WRONG_DIGEST, b"x" * (1 << 20) + b"x", OF_ANOTHER])
def test_what_is_older_or_damaged_never_replaces_what_is_shown(
    gateway: RunningGateway, redis_client: redis.Redis, found: bytes
) -> None:
    publish(redis_client, allocation(3))
    wait_until(lambda: gateway.revision() == 3)
    publish(redis_client, found)
    publish(redis_client, allocation(1, experiment_id="later"))  # read after it, by the same reader
    wait_until(lambda: gateway.revision("later") == 1)
    assert gateway.weights().content == document(3)


def test_a_new_life_of_the_key_is_shown(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    publish(redis_client, allocation(5))
    wait_until(lambda: gateway.revision() == 5)
    publish(redis_client, allocation(1, incarnation="two"))
    wait_until(lambda: gateway.weights().json()["incarnation"] == "two")


def test_a_key_that_vanishes_leaves_what_was_good(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    publish(redis_client, allocation(1, experiment_id="later"))
    wait_until(lambda: gateway.revision("later") == 1)
    assert gateway.weights().content == document(1)


def test_no_reader_ever_goes_back_while_two_hundred_publications_race_it(
    gateway: RunningGateway, redis_client: redis.Redis
) -> None:
    stop, seen = threading.Event(), list[list[int]]()

    def read() -> None:
        mine: list[int] = []
        seen.append(mine)
        while not stop.is_set():
            mine.append(gateway.weights().json()["revision"])

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for revision in range(2, 202):
        publish(redis_client, allocation(revision, {"a": revision / 1000, "b": 1 - revision / 1000}))
    wait_until(lambda: gateway.revision() == 201, 30)
    stop.set()
    for reader in readers:
        reader.join()
    assert all(mine == sorted(mine) for mine in seen)
    assert max(map(len, seen)) > 10


def test_waiting_ends_with_the_next_publication(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    tag = gateway.weights().headers["etag"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(gateway.get, f"/v1/weights/checkout{LONG}", headers={"If-None-Match": tag})
        wait_until(lambda: gateway.desk.board.waiting == 1, what="the waiter")
        publish(redis_client, allocation(2))
        assert answer.result(20).json()["revision"] == 2
    assert gateway.desk.board.waiting == 0


def test_waiting_ends_with_304_when_the_time_is_up(gateway: RunningGateway) -> None:
    tag = gateway.weights().headers["etag"]
    started = time.monotonic()
    answer = gateway.weights(tag, params={"wait": 1})
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)
    assert time.monotonic() - started >= 1


def test_prefer_wait_is_understood_and_confirmed(gateway: RunningGateway) -> None:
    tag = gateway.weights().headers["etag"]
    answer = gateway.get("/v1/weights/checkout", headers={"If-None-Match": tag, "Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=1")


def test_without_a_tag_nobody_waits(gateway: RunningGateway) -> None:
    assert gateway.get(f"/v1/weights/checkout{LONG}").status_code == 200


def test_many_waiters_share_one_subscription(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    tag, n = gateway.weights().headers["etag"], 60
    before = redis_client.info("clients")["connected_clients"]
    with ThreadPoolExecutor(n) as pool:
        answers = [
            pool.submit(gateway.get, f"/v1/weights/checkout{LONG}", headers={"If-None-Match": tag}) for _ in range(n)
        ]
        wait_until(lambda: gateway.desk.board.waiting == n, 30, what="all waiters")
        assert redis_client.pubsub_numpat() == 1
        assert redis_client.info("clients")["connected_clients"] <= before + 2
        publish(redis_client, allocation(2))
        assert {answer.result(20).json()["revision"] for answer in answers} == {2}


def test_who_goes_away_while_waiting_is_forgotten(gateway: RunningGateway) -> None:
    tag = gateway.weights().headers["etag"]
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(f"GET /v1/weights/checkout{LONG} HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n\r\n".encode())
        wait_until(lambda: gateway.desk.board.waiting == 1)
    wait_until(lambda: gateway.desk.board.waiting == 0, what="the caller forgotten")


@pytest.mark.parametrize("wait", ["-1", "61", "1.5", "x", "99999999999999999999", "٣"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(gateway: RunningGateway, wait: str) -> None:
    answer = gateway.weights(params={"wait": wait})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


def test_what_is_not_there_says_why(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    redis_client.sadd("trimtab:experiments", "draft")
    unknown, draft = gateway.weights(experiment="nope"), gateway.weights(experiment="draft")
    assert (unknown.status_code, draft.status_code) == (404, 404)
    assert "There is no experiment 'nope'" in unknown.json()["detail"]
    assert "start it with" in draft.json()["detail"]
    assert unknown.headers["content-type"] == "application/problem+json"


def test_a_fresh_experiment_is_found_before_its_notice(gateway: RunningGateway, redis_client: redis.Redis) -> None:
    publish(redis_client, allocation(1, experiment_id="fresh"), notify=False)
    assert gateway.weights(experiment="fresh").status_code == 200


@pytest.mark.parametrize(
    "name", ["a}:x{", "*", "..", "%2e%2e%2f", "a%0d%0aFLUSHALL", "x" * 10_000, "сheckout", "Checkout", "a b", "a%00"]
)
def test_ids_that_cannot_be_change_no_key(gateway: RunningGateway, redis_client: redis.Redis, name: str) -> None:
    """SE-07."""
    keys = set(redis_client.keys())
    assert gateway.weights(experiment=name).status_code in (400, 404)
    answer = gateway.post(f"/ofrep/v1/evaluate/flags/{name}", json={"context": {"targetingKey": "u"}})
    assert answer.status_code in (400, 404)
    assert set(redis_client.keys()) == keys


def test_a_lost_data_server_leaves_what_was_good_and_its_return_is_noticed(own_server: EmbeddedServer) -> None:
    with plain_client(own_server.url) as client, running_gateway(own_server.url) as gateway:
        publish(client, allocation(1))
        wait_until(lambda: gateway.revision() == 1)
        own_server.kill()
        wait_until(lambda: gateway.get("/readyz").status_code == 503, 30, what="unready")
        assert gateway.weights().content == document(1)
        assert gateway.evaluate("u1")["variant"] in ("a", "b")
        assert gateway.get("/healthz").status_code == 200
        own_server.start()
        publish(client, allocation(2), notify=False)
        wait_until(lambda: gateway.revision() == 2, 30, what="fresh weights")
        wait_until(lambda: gateway.get("/readyz").status_code == 200, 30, what="ready")


def test_before_the_data_server_ever_answered_nothing_is_claimed_to_be_missing() -> None:
    with running_gateway("redis://127.0.0.1:1/0") as gateway:
        answers: list[Any] = [gateway.weights(), gateway.get("/flagd/flags.json")]
        answers.append(gateway.post("/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": "u"}}))
        assert [(answer.status_code, answer.headers["retry-after"]) for answer in answers] == [(503, "1")] * 3


def test_head_and_other_methods_are_answered_as_http_has_it(gateway: RunningGateway) -> None:
    head = requests.head(f"{gateway.url}/v1/weights/checkout", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    put = requests.put(f"{gateway.url}/v1/weights/checkout", timeout=30)
    assert (put.status_code, put.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in put.headers["allow"]
    assert gateway.get("/nowhere").json()["code"] == "not_found"
