"""Keys that others took away or wrote: weights come back from the ledger, and no experiment drags others along."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from logs import Log, definition
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.errors import CorruptState
from trimtab.schema.allocation import Allocation
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.services.metrics import M, Sources, measure
from trimtab_worker.services.reallocate import Reallocate

NAMES = ExperimentKeys("checkout")


@pytest.fixture
def log(redis_client: redis.Redis) -> Log:
    """Two experiments that run; `b` of the first one is halted."""
    log = Log(RedisPartition(redis_client, 0), RedisPublications(redis_client))
    log.control.create(definition(id="other"))
    log.control.start("other")
    log.control.halt("checkout", "b", reason="a look")
    log.drain()
    return log


def reallocate(log: Log) -> Reallocate:
    return Reallocate(log.publications, lambda _: log.store)


def older(log: Log) -> bytes:
    """The document of another experiment's start, which is an allocation of an earlier revision."""
    allocation = log.control.show("other").allocation
    assert allocation is not None
    fields = allocation.model_dump(exclude={"digest"}) | {"experiment_id": "checkout"}
    return Allocation.seal(**fields).model_dump_json().encode()


@pytest.mark.parametrize(
    "written", [lambda _: None, lambda _: b"{}", lambda _: b"not JSON", older], ids=["gone", "empty", "text", "older"]
)
def test_a_polled_key_that_somebody_took_or_wrote_is_put_back_by_the_next_decision(
    written: Callable[[Log], bytes | None], log: Log, redis_client: redis.Redis
) -> None:
    before = log.control.show("checkout")
    assert before.allocation is not None
    document = written(log)
    redis_client.delete(NAMES.weights)
    if document is not None:
        redis_client.set(NAMES.weights, document)
    found = log.control.show("checkout").allocation
    assert found is not None
    assert (found.weights, found.epoch) == (before.parts, before.allocation.epoch)
    assert set(reallocate(log).due(log.store.now())) == {"checkout", "other"}
    reallocate(log).recompute("checkout")
    restored = Allocation.model_validate_json(redis_client.get(NAMES.weights) or b"")
    assert (restored.weights, restored.epoch) == (before.parts, before.allocation.epoch)
    assert (restored.revision, restored.incarnation) == (before.revision + 1, before.incarnation)


def test_an_experiment_that_cannot_be_read_stops_no_other(log: Log, redis_client: redis.Redis) -> None:
    redis_client.hset(NAMES.definition, "definition", "of another version")
    assert reallocate(log).due(log.store.now()) == ["other"]
    with pytest.raises(CorruptState, match="version of Trimtab that wrote it"):
        reallocate(log).recompute("checkout")
    told = measure(
        Sources(
            publications=log.publications,
            partition=lambda _: log.store,
            server=lambda: {"used_memory": 1, "maxmemory": 0, "aof_enabled": 1},
            ages=dict,
        )
    ).text()
    status = M.STATUS.value.name
    assert f'{status}{{experiment="checkout",status="unreadable"}} 1.0' in told
    assert f'{status}{{experiment="other",status="running"}} 1.0' in told
