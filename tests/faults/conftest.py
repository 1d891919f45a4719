"""A running experiment on a real server, shared or of the test's own; `eager_log` has one whose weights move soon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from faults.deciding import EAGER
from logs import Log
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab_worker.embedded import EmbeddedServer


@pytest.fixture
def log(server: EmbeddedServer) -> Iterator[Log]:
    yield from _log_on(server)


@pytest.fixture
def own_log(own_server: EmbeddedServer) -> Iterator[Log]:
    yield from _log_on(own_server)


@pytest.fixture
def eager_log(server: EmbeddedServer) -> Iterator[Log]:
    yield from _log_on(server, constraints=EAGER)


def _log_on(server: EmbeddedServer, **changes: Any) -> Iterator[Log]:
    with connect(server.url) as client:
        publications = RedisPublications(client)
        publications.create_log(1)
        yield Log(RedisPartition(client, 0), publications, **changes)
