"""Both stores of every port: the Redis adapter on a real server, and its in-memory twin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.ports import PartitionStore, PublicationStore
from trimtab_worker.embedded import EmbeddedServer


@pytest.fixture(params=["memory", "redis"])
def partition(request: pytest.FixtureRequest) -> Iterator[PartitionStore]:
    if request.param == "memory":
        yield MemoryPartition()
        return
    server: EmbeddedServer = request.getfixturevalue("server")
    with connect(server.url) as client:
        yield RedisPartition(client, 0)


@pytest.fixture(params=["memory", "redis"])
def publications(request: pytest.FixtureRequest) -> Iterator[PublicationStore]:
    if request.param == "memory":
        yield MemoryPublications()
        return
    server: EmbeddedServer = request.getfixturevalue("server")
    with connect(server.url) as client:
        yield RedisPublications(client)
