"""Who may ask what: every address against every key, limits, and keys that show nowhere."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from hashlib import sha256

import pytest
import redis

from client_allocations import allocation
from e2e.conftest import CLI, clean_environment
from gateways import RunningGateway, publish, running_gateway
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.gateway.access import Role
from trimtab_worker.gateway.endpoint import Endpoint
from trimtab_worker.gateway.routes import ENDPOINTS

READER, HASHED_READER, PRODUCER = "reader-0123456789", "another-reader-0123456789", "producer-0123456789"
READERS = f"{READER}, sha256:{sha256(HASHED_READER.encode()).hexdigest()}"
MAY = {READER: {Role.READER}, HASHED_READER: {Role.READER}, PRODUCER: {Role.PRODUCER}, "unknown-0123456789": set()}


@pytest.fixture
def closed(server: EmbeddedServer, redis_client: redis.Redis) -> Iterator[RunningGateway]:
    publish(redis_client, allocation(1))
    with running_gateway(server.url, reader_keys=READERS, producer_keys=PRODUCER) as gateway:
        yield gateway


def ask(gateway: RunningGateway, endpoint: Endpoint, **headers: str) -> int:
    path = re.sub(r"\{experiment\}|\{key\}", "checkout", endpoint.path).replace("{client_key}", "sdk-unknown")
    send = gateway.get if endpoint.method == "GET" else gateway.post
    return int(send(path, headers={"Content-Type": "application/json", **headers}).status_code)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_address_asks_for_a_key_of_its_role(closed: RunningGateway, endpoint: Endpoint) -> None:
    """400 says that somebody was let in with nothing useful to say."""
    let_in = {200, 202, 400, 503}
    if endpoint.role is Role.ANYONE:
        assert ask(closed, endpoint) in let_in
        return
    assert ask(closed, endpoint) == 401
    for key, roles in MAY.items():
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": key}):
            status = ask(closed, endpoint, **headers)
            if endpoint.role in roles:
                assert status in let_in
            else:
                assert status == (403 if roles else 401)


def test_growthbooks_client_key_is_a_key(closed: RunningGateway) -> None:
    assert closed.get(f"/api/features/{READER}").status_code == 200
    assert closed.get(f"/api/features/{PRODUCER}").status_code == 403
    assert closed.get("/api/features/sdk-unknown").status_code == 401


def test_a_digest_is_no_key(closed: RunningGateway) -> None:
    """Who reads the settings file cannot use what stands there."""
    digest = sha256(HASHED_READER.encode()).hexdigest()
    for key in (digest, f"sha256:{digest}"):
        assert closed.get("/v1/weights/checkout", headers={"X-API-Key": key}).status_code == 401


def test_without_keys_for_producers_nobody_sends_once_there_are_keys(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    with running_gateway(server.url, reader_keys=READER) as gateway:
        assert gateway.post("/v1/events").status_code == 401
        assert gateway.post("/v1/events", headers={"X-API-Key": READER}).status_code == 403


def test_each_key_has_a_limit_of_its_own(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    publish(redis_client, allocation(1))
    with running_gateway(server.url, reader_keys=READERS, requests_per_second=20) as gateway:

        def statuses(key: str, n: int) -> set[int]:
            return {gateway.get("/v1/weights/checkout", headers={"X-API-Key": key}).status_code for _ in range(n)}

        assert 429 in statuses(READER, 200)
        assert statuses(HASHED_READER, 1) == {200}
        assert gateway.get("/healthz").status_code == 200, "probes have no limit"


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, "serve", "--port", "0", *arguments],
        env=clean_environment() | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_it_serves_this_machine_only(server: EmbeddedServer, host: str) -> None:
    done = serve("--host", host, REDIS_URL=server.url)
    assert done.returncode == 1
    assert "TRIMTAB_GATEWAY__READER_KEYS" in done.stderr


def test_a_key_that_people_can_guess_is_refused_without_repeating_it(server: EmbeddedServer) -> None:
    done = serve(REDIS_URL=server.url, TRIMTAB_GATEWAY__PRODUCER_KEYS="hunter2")
    assert done.returncode == 1
    assert "at least 16 characters" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


