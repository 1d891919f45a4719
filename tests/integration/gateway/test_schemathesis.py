"""The running gateway against its own OpenAPI document: generated requests, good and bad, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateways import RunningGateway, running_gateway
from logs import Log
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.gateway.endpoint import Endpoint
from trimtab_worker.gateway.openapi import document
from trimtab_worker.gateway.routes import ENDPOINTS

EXAMPLES = 40
DOCUMENT = schemathesis.openapi.from_dict(document(ENDPOINTS))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def gateway(_session_server: EmbeddedServer) -> Iterator[RunningGateway]:
    with redis.Redis.from_url(_session_server.url, protocol=3, legacy_responses=False) as client:
        client.flushall()
        Log(RedisPartition(client, 0), RedisPublications(client))
        with running_gateway(_session_server.url) as running:
            yield running


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_no_request_breaks_it_and_every_answer_is_a_described_one(
    gateway: RunningGateway, endpoint: Endpoint, mode: GenerationMode
) -> None:
    operation, asked = DOCUMENT[endpoint.path][endpoint.method], 0

    @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        case.validate_response(case.call(base_url=gateway.url), checks=CHECKS)
        asked += 1

    with suppress(Unsatisfiable):  # an address without a body may have no bad requests
        ask()
    assert asked or (mode is GenerationMode.NEGATIVE and not endpoint.takes)
