"""The flag client for asyncio against a real server; what it shares with the other one is tested there."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from client_allocations import document
from servers import wait_until
from trimtab.adapters.redis.serving import serving
from trimtab.client.flags import Assignment, AsyncFlagClient, Reason
from trimtab.clock import system_clock
from trimtab.errors import ConfigurationError
from trimtab.schema.keys import ExperimentKeys
from trimtab_worker.embedded import EmbeddedServer

KEYS = ExperimentKeys("checkout")
OFTEN: dict[str, Any] = {"poll_seconds": 0.05}
SELDOM: dict[str, Any] = {"poll_seconds": 3600}


async def until(condition: Callable[[], Any]) -> Any:
    """`wait_until` beside a loop that must go on."""
    return await asyncio.to_thread(wait_until, condition)


def test_it_serves_polls_hears_and_tells_like_the_other_one(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    async def scene() -> None:
        redis_client.set(KEYS.weights, document(1))
        async with AsyncFlagClient(server.url, experiments=["checkout"], name="web-1", **SELDOM) as flags:
            units = [f"user-{n}" for n in range(100)]
            alone = [flags.variant("checkout", unit) for unit in units]
            assert flags.assignments("checkout", units) == alone
            assert {answer.reason for answer in alone} == {Reason.SPLIT}
            await until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
            redis_client.set(KEYS.weights, document(2))
            redis_client.publish(KEYS.notices, 2)
            await until(lambda: flags.variant("checkout", "user-1").revision == 2)
            await until(lambda: [note.name for _, note in serving(redis_client, "checkout")] == ["web-1"])
        assert serving(redis_client, "checkout") == []
        assert flags.variant("checkout", "user-1").revision == 2, "after closing the last answer stays"

    asyncio.run(scene())


def test_an_experiment_nobody_named_is_not_ready_at_first_and_soon_read(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    async def scene() -> None:
        redis_client.set(KEYS.weights, document(1))
        async with AsyncFlagClient(server.url, **SELDOM) as flags:
            assert flags.variant("checkout", "user-1", "a") == Assignment("a", None, None, Reason.NOT_READY, None)
            await until(lambda: flags.variant("checkout", "user-1").reason is Reason.SPLIT)
            assert not await flags.watch("search")
            assert flags.variant("search", "user-1").reason is Reason.DEFAULT
            with pytest.raises(ConfigurationError):
                await flags.watch("A b")

    asyncio.run(scene())


def test_a_lost_subscription_comes_back(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    async def scene() -> None:
        async with AsyncFlagClient(server.url, experiments=["checkout"], **SELDOM) as flags:
            for revision in (1, 2):
                await until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)
                redis_client.set(KEYS.weights, document(revision))
                redis_client.client_kill_filter(_type="pubsub")
                await until(lambda revision=revision: flags.variant("checkout", "user-1").revision == revision)

    asyncio.run(scene())


def test_a_killed_server_changes_no_answer_and_a_restarted_one_is_read_again(
    own_server: EmbeddedServer, own_client: redis.Redis, tmp_path: Path
) -> None:
    """FC-01 and FC-02."""

    async def scene() -> None:
        own_client.set(KEYS.weights, document(1))
        cached: dict[str, Any] = {"experiments": ["checkout"], "cache_dir": tmp_path / "flags", **OFTEN}
        async with AsyncFlagClient(own_server.url, **cached) as flags:
            before = [flags.variant("checkout", f"user-{n}") for n in range(500)]
            own_server.kill()
            await until(lambda: flags.counts.errors > 0)
            assert [flags.variant("checkout", f"user-{n}") for n in range(500)] == before
            assert not await flags.refresh()
            async with AsyncFlagClient(own_server.url, **cached) as late:
                assert [late.variant("checkout", f"user-{n}") for n in range(500)] == before
            own_server.start()  # here: the server ends with the thread that started it
            own_client.set(KEYS.weights, document(2))
            await until(lambda: flags.variant("checkout", "user-1").revision == 2)

    asyncio.run(scene())


def test_answers_grow_stale_on_time_while_the_loop_stands_still(
    server: EmbeddedServer, redis_client: redis.Redis
) -> None:
    async def scene() -> None:
        now = [0.0]
        redis_client.set(KEYS.weights, document(1, valid_until=system_clock() + 60_000))
        async with AsyncFlagClient(
            server.url, experiments=["checkout"], monotonic=lambda: now[0], wake_up=False, **SELDOM
        ) as flags:
            assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
            now[0] = 130.0
            assert flags.variant("checkout", "user-1").reason is Reason.STALE

    asyncio.run(scene())


def test_a_forked_child_serves_what_the_parent_knew(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    async def scene() -> int:
        redis_client.set(KEYS.weights, document(1))
        async with AsyncFlagClient(server.url, experiments=["checkout"], **OFTEN) as flags:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                known = flags.variant("checkout", "user-1").reason is Reason.SPLIT
                unknown = flags.variant("search", "user-1").reason is Reason.NOT_READY
                os._exit(0 if known and unknown else 1)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            redis_client.set(KEYS.weights, document(2))
            await until(lambda: flags.variant("checkout", "user-1").revision == 2)
            return code

    assert asyncio.run(scene()) == 0


def test_it_is_started_and_closed_as_often_as_one_likes(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    async def scene() -> None:
        redis_client.set(KEYS.weights, document(1))
        flags = AsyncFlagClient(server.url, experiments=["checkout"])
        assert flags.variant("checkout", "user-1").reason is Reason.NOT_READY
        for step in (flags.start, flags.start, flags.close, flags.close, flags.start):
            await step()
        assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("trimtab")] == []

    asyncio.run(scene())


@pytest.mark.parametrize("options", [{"decode_responses": True}, {"protocol": 2}], ids=str)
def test_somebody_elses_client_serves_the_same(
    server: EmbeddedServer, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    async def scene() -> None:
        redis_client.set(KEYS.weights, document(1))
        async with (
            redis.asyncio.Redis.from_url(server.url, **options) as client,
            AsyncFlagClient(client=client, experiments=["checkout"], **SELDOM) as flags,
        ):
            assert flags.variant("checkout", "user-1").reason is Reason.SPLIT
            await until(lambda: redis_client.pubsub_numsub(KEYS.notices)[0][1] == 1)

    asyncio.run(scene())
