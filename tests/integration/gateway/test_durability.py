"""A tag advances only once the data server's disk has the allocation.

The disk is held back by `appendfsync no`: the server then writes whenever it is told otherwise, and says so truthfully.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from client_allocations import allocation
from gateways import RunningGateway, publish, running_gateway
from servers import plain_client, start_server, wait_until
from trimtab.adapters.redis.connection import connect_async
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.durability import Fence, Method

KEY = ExperimentKeys("checkout").weights


class Waiting(Fence):
    """Waits for the file whatever the policy is, and counts how often it waited in vain."""

    in_vain = 0

    async def _method(self) -> Method:
        return Method.WAITAOF

    async def read(self, names: object) -> list[bytes | None] | None:
        found = await super().read(names)  # type: ignore[arg-type]
        self.in_vain += found is None
        return found


def wait_for_the_file(desk: Desk) -> None:
    desk.board._fence = Waiting(desk.board._client)


@pytest.fixture
def held_back(own_server: EmbeddedServer, own_client: redis.Redis) -> Iterator[RunningGateway]:
    """Revision 1 is shown; whatever is published now does not reach the disk."""
    publish(own_client, allocation(1))
    with running_gateway(own_server.url, change=wait_for_the_file) as gateway:
        wait_until(lambda: gateway.revision() == 1)
        own_client.config_set("appendfsync", "no")
        yield gateway


def waited_in_vain(gateway: RunningGateway) -> bool:
    fence = gateway.desk.board._fence
    return isinstance(fence, Waiting) and fence.in_vain > 0


def test_what_the_disk_does_not_have_is_not_shown_until_it_has(
    held_back: RunningGateway, own_client: redis.Redis
) -> None:
    tag = held_back.weights().headers["etag"]
    publish(own_client, allocation(2))
    wait_until(lambda: waited_in_vain(held_back), 30, what="a wait in vain")
    assert held_back.weights(tag).status_code == 304
    assert held_back.get("/readyz").json()["checks"]["disk"].startswith("1 publications wait")
    assert held_back.evaluate("u")["metadata"]["revision"] == 1, "evaluations follow the same board"
    own_client.config_set("appendfsync", "always")
    wait_until(lambda: held_back.revision() == 2, 30, what="the allocation on disk")


def test_what_a_power_cut_takes_was_never_shown(
    held_back: RunningGateway, own_server: EmbeddedServer, own_client: redis.Redis
) -> None:
    """The namesake that follows is another document under the same revision, and is shown."""
    (log,) = (own_server.directory / "appendonlydir").glob("*.incr.aof")
    on_disk = log.stat().st_size
    publish(own_client, allocation(2, {"a": 0.9, "b": 0.1}))
    wait_until(lambda: waited_in_vain(held_back), 30)
    own_server.kill()
    with log.open("r+b") as file:
        file.truncate(on_disk)
    own_server.start()
    with plain_client(own_server.url) as client:
        assert b'"revision":1' in client.get(KEY)
        publish(client, allocation(2, {"a": 0.4, "b": 0.6}))
        wait_until(lambda: held_back.revision() == 2, 30)
        assert held_back.weights().json()["weights"] == {"a": 400_000, "b": 600_000}


def test_the_first_reading_waits_as_well(own_server: EmbeddedServer, own_client: redis.Redis) -> None:
    own_client.config_set("appendfsync", "no")
    publish(own_client, allocation(1))
    with running_gateway(own_server.url, change=wait_for_the_file) as gateway:
        answer = gateway.weights()
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "not on disk yet" in answer.json()["detail"]


@pytest.mark.parametrize("options", [{"appendonly": "no"}, {"appendfsync": "no"}], ids=str)
def test_where_nothing_is_promised_nothing_is_waited_for(tmp_path: Path, options: dict[str, str]) -> None:
    with start_server(tmp_path / "server", options=options) as server, plain_client(server.url) as client:
        publish(client, allocation(1))
        assert asyncio.run(method_and_value(server.url)) == (Method.NONE, client.get(KEY))


@pytest.mark.parametrize("policy", ["everysec", "always"])
def test_this_server_can_be_asked_for_its_disk(
    own_server: EmbeddedServer, own_client: redis.Redis, policy: str
) -> None:
    own_client.config_set("appendfsync", policy)
    publish(own_client, allocation(1))
    assert asyncio.run(method_and_value(own_server.url)) == (Method.WAITAOF, own_client.get(KEY))


async def method_and_value(url: str) -> tuple[Method, bytes | None]:
    async with connect_async(url) as client:
        fence = Fence(client)
        values = await fence.read([KEY])
        assert values is not None
        return await fence._method(), values[0]


class Settling(Fence):
    """A server that cannot be asked."""

    async def _method(self) -> Method:
        return Method.DELAY


def test_a_server_that_cannot_be_asked_is_given_time(own_server: EmbeddedServer, own_client: redis.Redis) -> None:
    publish(own_client, allocation(1))

    async def read() -> list[bytes | None] | None:
        async with connect_async(own_server.url) as client:
            return await Settling(client, settle_seconds=0.05).read([KEY])

    # A disk write may be under way at the one look: the board asks again, and so does this.
    assert wait_until(lambda: asyncio.run(read())) == [own_client.get(KEY)]


def test_what_was_read_from_an_earlier_life_of_the_server_does_not_count(
    own_server: EmbeddedServer, own_client: redis.Redis
) -> None:
    publish(own_client, allocation(1))

    class Interrupted(Settling):
        async def _pause(self) -> None:
            await self._client.connection_pool.disconnect()  # as after a failure: the next command connects anew
            own_server.kill()
            own_server.start()

    async def read() -> list[bytes | None] | None:
        async with connect_async(own_server.url) as client:
            return await Interrupted(client).read([KEY])

    assert asyncio.run(read()) is None
