"""A gateway over the shared data server, with one experiment published."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from client_allocations import allocation
from gateways import RunningGateway, publish, running_gateway
from trimtab_worker.embedded import EmbeddedServer


@pytest.fixture
def gateway(server: EmbeddedServer, redis_client: redis.Redis) -> Iterator[RunningGateway]:
    publish(redis_client, allocation(1))
    with running_gateway(server.url) as running:
        yield running
