"""`trimtab serve` as people run it: it says where it listens, and ends in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import redis
import requests

from client_allocations import allocation
from e2e.conftest import CLI, clean_environment
from gateways import publish, serving
from servers import wait_until
from trimtab_worker.embedded import EmbeddedServer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_being_asked_to_stop_it_answers_who_waits_and_ends_well(
    server: EmbeddedServer, redis_client: redis.Redis, number: signal.Signals
) -> None:
    publish(redis_client, allocation(1))
    with serving(server.url) as (process, url), ThreadPoolExecutor() as pool:
        weights = f"{url}/v1/weights/checkout"
        tag = requests.get(weights, timeout=30).headers["etag"]
        waiting = pool.submit(requests.get, f"{weights}?wait=60", headers={"If-None-Match": tag}, timeout=90)
        wait_until(lambda: "1 requests wait" in requests.get(f"{url}/readyz", timeout=30).text, what="the waiter")
        os.kill(process.pid, number)
        assert waiting.result(30).status_code == 304
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "No API keys are set" in said
        assert "Traceback" not in said


def test_a_taken_port_is_said_in_a_sentence(server: EmbeddedServer) -> None:
    with serving(server.url) as (_, url):
        done = subprocess.run(
            [*CLI, "serve", "--port", url.rpartition(":")[2]],
            env=clean_environment() | {"REDIS_URL": server.url},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "cannot be listened on" in done.stderr


def _taken(connection: socket.socket, begins: bytes) -> int:
    """How many bytes of a line that never ends are taken, up to 64 MiB, until the connection is cut."""
    connection.sendall(begins)
    taken = 0
    with suppress(ConnectionError):
        while taken < 64 * 2**20:
            connection.sendall(b"a" * 2**20)
            taken += 2**20
    return taken


@pytest.mark.parametrize(
    "begins",
    [
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ",
        b"GET /healthz?long=",
        b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-long: ",
    ],
    ids=["header", "address", "trailer"],
)
def test_a_head_without_end_is_cut_before_anybody_is_asked_for_a_key(server: EmbeddedServer, begins: bytes) -> None:
    """Else whoever reaches the gateway fills its memory, and a parser that copies it over and over stands still."""
    with serving(server.url, TRIMTAB_GATEWAY__PRODUCER_KEYS="x" * 16) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            assert _taken(connection, begins) < 64 * 2**20
        assert requests.get(f"{url}/healthz", timeout=30).status_code == 200
        assert requests.get(f"{url}/healthz", headers={"X-Long": "a" * 30_000}, timeout=30).status_code == 200


def test_keys_and_what_is_sent_show_in_no_record(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    """SE-11, at the level that shows most."""
    publish(redis_client, b'{"canary": "canary-in-a-document"}')
    keys = ["reader-canary-0123456789", "producer-canary-0123456789", "unknown-canary-0123456789"]
    named = {"TRIMTAB_GATEWAY__READER_KEYS": keys[0], "TRIMTAB_GATEWAY__PRODUCER_KEYS": keys[1]}
    with serving(server.url, TRIMTAB_LOG_LEVEL="DEBUG", **named) as (process, url):
        for key in keys:
            requests.get(f"{url}/api/features/{key}", timeout=30)
            for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
                requests.get(f"{url}/v1/weights/checkout", headers=headers, timeout=30)
                requests.post(f"{url}/v1/events", headers=headers, json={"canary": "canary"}, timeout=30)
        process.terminate()
        said = "".join(process.communicate(timeout=30))
    assert "document_ignored" in said, "records are written"
    assert "canary" not in said
