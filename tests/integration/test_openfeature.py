"""The OpenFeature provider under the real SDK: evaluations, events, tracking, what happens without a server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus
from openfeature.track import TrackingEventDetails

from client_allocations import document
from logs import definition
from servers import wait_until
from trimtab import Control, FlagClient, Publisher
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.client.openfeature import TrimtabProvider
from trimtab.clock import system_clock
from trimtab.schema.keys import ExperimentKeys, PartitionKeys
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.ingest import Ingest
from trimtab_worker.services.statistics import statistics

KEY = ExperimentKeys("checkout").weights
USER = EvaluationContext("user-1")
ALL_B = {"a": 0.0, "b": 1.0}

Serve = Callable[..., OpenFeatureClient]


@pytest.fixture
def serve(server: EmbeddedServer) -> Iterator[Serve]:
    """Make a provider the SDK's own, and return the SDK's client."""

    def with_settings(**settings: Any) -> OpenFeatureClient:
        url = settings.pop("url", server.url)
        settings = {"experiments": ["checkout"], "poll_seconds": 0.05} | settings
        api.set_provider_and_wait(TrimtabProvider(url, **settings))
        return api.get_client()

    yield with_settings
    api.shutdown()
    api.clear_providers()


def provider_of(client: OpenFeatureClient) -> TrimtabProvider:
    assert isinstance(client.provider, TrimtabProvider)
    return client.provider


def test_an_evaluation_has_the_variant_its_reason_and_what_an_outcome_needs(
    serve: Serve, redis_client: redis.Redis
) -> None:
    redis_client.set(KEY, document(7, ALL_B, epoch=3))
    details = serve().get_string_details("checkout", "a", USER)
    assert (details.value, details.variant, details.reason, details.error_code) == ("b", "b", Reason.SPLIT, None)
    assert details.flag_metadata == {"experiment": "checkout", "epoch": 3, "revision": 7, "propensity": 1.0}


def test_twenty_thousand_units_get_what_the_flag_client_gives_them(
    serve: Serve, redis_client: redis.Redis, server: EmbeddedServer
) -> None:
    """Shares .2/.3/.5 to three standard errors, √(p·q / 20,000), and the same variant unit by unit."""
    shares = {"a": 0.2, "b": 0.3, "c": 0.5}
    redis_client.set(KEY, document(1, shares))
    client = serve()
    units = [f"user-{n}" for n in range(20_000)]
    served = [client.get_string_value("checkout", "z", EvaluationContext(unit)) for unit in units]
    with FlagClient(server.url, experiments=["checkout"]) as flags:
        assert served == [answer.variant for answer in flags.assignments("checkout", units)]
    for variant, share in shares.items():
        assert abs(served.count(variant) / 20_000 - share) < 3 * (share * (1 - share) / 20_000) ** 0.5


def test_typed_flags(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1, ALL_B))
    redis_client.set(ExperimentKeys("price").weights, document(1, ALL_B, experiment_id="price"))
    client = serve(values={"price": {"a": 10, "b": 12}})
    assert client.get_boolean_value("checkout", False, USER) is True
    assert client.get_object_value("checkout", {}, USER)["variant"] == "b"
    assert client.get_integer_value("price", 0, USER) == 12
    assert client.get_float_value("price", 0.0, USER) == 12.0
    mismatch = client.get_integer_details("checkout", 5, USER)
    assert (mismatch.value, mismatch.reason, mismatch.error_code) == (5, Reason.ERROR, ErrorCode.TYPE_MISMATCH)


def test_evaluations_await_an_experiment_that_nobody_named(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1, ALL_B))
    client = serve(experiments=[], values={"checkout": {"b": 2}})

    async def scene() -> list[Any]:
        return [
            await client.get_integer_value_async("checkout", 0, USER),
            await client.get_float_value_async("checkout", 0.0, USER),
            (await client.get_string_details_async("checkout", "", USER)).error_code,
            (await client.get_boolean_details_async("checkout", False, USER)).error_code,
            (await client.get_object_details_async("checkout", {}, USER)).error_code,
        ]

    assert asyncio.run(scene()) == [2, 2.0, *[ErrorCode.TYPE_MISMATCH] * 3]


@pytest.mark.parametrize(
    ("flag", "context", "code"),
    [
        ("checkout", None, ErrorCode.TARGETING_KEY_MISSING),
        ("checkout", EvaluationContext(""), ErrorCode.TARGETING_KEY_MISSING),
        ("checkout", EvaluationContext(7), ErrorCode.INVALID_CONTEXT),  # type: ignore[arg-type]
        ("checkout", EvaluationContext("\ud800"), ErrorCode.INVALID_CONTEXT),
        ("unknown", USER, ErrorCode.FLAG_NOT_FOUND),
        ("Not An Id", USER, ErrorCode.FLAG_NOT_FOUND),
    ],
)
def test_what_cannot_be_evaluated_gives_the_default_with_the_code_of_the_specification(
    serve: Serve, redis_client: redis.Redis, flag: str, context: EvaluationContext | None, code: ErrorCode
) -> None:
    redis_client.set(KEY, document(1))
    details = serve().get_string_details(flag, "z", context)
    assert (details.value, details.reason, details.error_code, details.variant) == ("z", Reason.ERROR, code, None)
    assert str(details.error_message).endswith(".")


def test_events_tell_of_changes_staleness_and_its_end(serve: Serve, redis_client: redis.Redis) -> None:
    """A renewal that changes no answer is no change of configuration."""
    heard: list[tuple[ProviderEvent, EventDetails]] = []
    redis_client.set(KEY, document(1))
    client = serve()
    for kind in ProviderEvent:
        client.add_handler(kind, lambda details, kind=kind: heard.append((kind, details)))

    def next_event(kind: ProviderEvent, raw: bytes) -> EventDetails:
        heard.clear()
        redis_client.set(KEY, raw)
        wait_until(lambda: kind in [heard_kind for heard_kind, _ in heard], what=str(kind))
        return next(details for heard_kind, details in heard if heard_kind is kind)

    changed = next_event(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, document(2, ALL_B, epoch=2))
    assert (changed.flags_changed, changed.metadata) == (["checkout"], {"epoch": 2, "revision": 2})
    next_event(ProviderEvent.PROVIDER_STALE, document(3, ALL_B, epoch=2, valid_until=system_clock() - 120_000))
    assert [kind for kind, _ in heard] == [ProviderEvent.PROVIDER_STALE]
    assert client.get_provider_status() is ProviderStatus.STALE
    assert client.get_string_details("checkout", "a", USER).reason is Reason.STALE
    next_event(ProviderEvent.PROVIDER_READY, document(4, ALL_B, epoch=2))
    assert client.get_provider_status() is ProviderStatus.READY


def test_with_on_stale_default_the_default_is_served_as_stale(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1, valid_until=system_clock() - 120_000))
    details = serve(on_stale="default").get_string_details("checkout", "z", USER)
    assert (details.value, details.reason, details.error_code) == ("z", Reason.STALE, None)


def test_without_a_server_the_provider_is_in_error_and_ready_once_there_is_one(
    own_server: EmbeddedServer, own_client: redis.Redis, serve: Serve
) -> None:
    own_client.set(KEY, document(1, ALL_B))
    own_server.stop()
    with pytest.raises(ProviderNotReadyError):
        serve(url=own_server.url)
    client = api.get_client()
    assert client.get_provider_status() is ProviderStatus.ERROR
    assert client.get_string_details("checkout", "z", USER).error_code is ErrorCode.PROVIDER_NOT_READY
    own_server.start()
    wait_until(lambda: client.get_provider_status() is ProviderStatus.READY)
    assert client.get_string_value("checkout", "z", USER) == "b"


def test_without_a_server_a_copy_on_the_disk_is_enough(
    serve: Serve, redis_client: redis.Redis, tmp_path: Path
) -> None:
    redis_client.set(KEY, document(1, ALL_B))
    serve(cache_dir=tmp_path)
    api.clear_providers()
    client = serve(url="redis://127.0.0.1:1/0", cache_dir=tmp_path)
    assert client.get_string_value("checkout", "z", USER) == "b"


# ── tracking ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tracking(server: EmbeddedServer, serve: Serve) -> Iterator[tuple[OpenFeatureClient, Publisher]]:
    """A running experiment, and a provider with a publisher."""
    control = Control(server.url)
    control.create(definition())
    control.start("checkout")
    with Publisher(server.url) as publisher:
        yield serve(publisher=publisher), publisher


def test_a_tracked_action_is_an_outcome_of_the_variant_that_was_served(
    tracking: tuple[OpenFeatureClient, Publisher], redis_client: redis.Redis
) -> None:
    """Also where the weights have moved since: the outcome belongs to what the unit saw."""
    client, publisher = tracking
    served = client.get_string_details("checkout", "control", USER)
    other = "b" if served.value == "control" else "control"
    Control(address(redis_client)).conclude("checkout", other)
    wait_until(lambda: client.get_string_value("checkout", "z", EvaluationContext("user-2")) == other)
    client.track("converted", USER)
    publisher.flush(10)
    (sent,) = batches(redis_client)
    assert (sent["variants"], sent["epoch"], sent["unit_id"]) == ([served.value], 1, ["user-1"])
    assert (sent["metrics"], sent["propensity"]) == ({"converted": [1]}, [0.5])
    assert provider_of(client).tracked.published == 1


def test_outcomes_of_many_units_are_counted_once_each(
    tracking: tuple[OpenFeatureClient, Publisher], redis_client: redis.Redis
) -> None:
    client, publisher = tracking
    served = {}
    for number in range(200):
        unit = EvaluationContext(f"user-{number}")
        served[number] = client.get_string_value("checkout", "z", unit)
        metrics = {"converted": number % 2, "amount": 5 * (number % 2)}
        client.track("outcome", unit, TrackingEventDetails(attributes={"metrics": metrics}))
    publisher.flush(10)
    state = RedisPartition(redis_client, 0)
    assert Ingest(state).drain(holder="test").folded == 200
    counted = {variant: sum(1 for given in served.values() if given == variant) for variant in ("control", "b")}
    assert statistics(state, "checkout").trials == counted


def test_another_process_says_what_was_served(
    tracking: tuple[OpenFeatureClient, Publisher], redis_client: redis.Redis
) -> None:
    client, publisher = tracking
    said = {"experiment": "checkout", "variant": "b", "epoch": 1, "propensity": 0.5, "event_id": "order-7"}
    client.track("amount", EvaluationContext("user-9"), TrackingEventDetails(42.5, said))
    publisher.flush(10)
    (sent,) = batches(redis_client)
    assert (sent["metrics"], sent["event_id"]) == ({"amount": [42.5]}, ["order-7"])


@pytest.mark.parametrize(
    ("context", "details", "counted"),
    [
        (None, None, "unknown"),
        (EvaluationContext("never-evaluated"), None, "unknown"),
        (USER, TrackingEventDetails(attributes={"experiment": "other"}), "unknown"),
        (USER, TrackingEventDetails(float("nan")), "refused"),
        (USER, TrackingEventDetails(attributes={"metrics": {"converted": "yes"}}), "refused"),
    ],
)
def test_what_cannot_be_an_outcome_is_counted_and_raises_nothing(
    tracking: tuple[OpenFeatureClient, Publisher], context: Any, details: Any, counted: str
) -> None:
    client, _ = tracking
    client.get_string_value("checkout", "z", USER)
    client.track("converted", context, details)
    assert getattr(provider_of(client).tracked, counted) == 1
    assert provider_of(client).tracked.published == 0


def test_without_a_publisher_outcomes_are_refused(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1))
    client = serve()
    client.get_string_value("checkout", "z", USER)
    client.track("converted", USER)
    assert provider_of(client).tracked.refused == 1


def test_only_the_newest_evaluations_are_remembered(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1))
    client = serve(remember=2)
    for number in range(3):
        client.get_string_value("checkout", "z", EvaluationContext(f"user-{number}"))
    for number in range(3):
        client.track("converted", EvaluationContext(f"user-{number}"))
    assert (provider_of(client).tracked.unknown, provider_of(client).tracked.refused) == (1, 2)


def test_a_flag_client_of_ones_own_stays_open(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1))
    with FlagClient(server.url, experiments=["checkout"], poll_seconds=0.05) as flags:
        api.set_provider_and_wait(TrimtabProvider(flags=flags))
        api.clear_providers()
        redis_client.set(KEY, document(2))
        wait_until(lambda: flags.variant("checkout", "user-1").revision == 2)


def test_a_provider_may_be_initialised_again(serve: Serve, redis_client: redis.Redis) -> None:
    redis_client.set(KEY, document(1, ALL_B))
    provider = provider_of(serve())
    api.clear_providers()
    assert provider.resolve_string_details("checkout", "z", USER).error_code is ErrorCode.PROVIDER_NOT_READY
    api.set_provider_and_wait(provider)
    assert api.get_client().get_string_value("checkout", "z", USER) == "b"


def test_a_missing_extra_is_one_sentence() -> None:
    script = "import sys; sys.modules['openfeature'] = None\nimport trimtab.client.openfeature"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith("it comes with an extra: pip install 'trimtab[flags]'.")


def address(client: redis.Redis) -> str:
    settings = client.connection_pool.connection_kwargs
    return f"redis://{settings['host']}:{settings['port']}/0"


def batches(client: redis.Redis) -> list[dict[str, Any]]:
    entries = client.xrange(PartitionKeys(0).events)
    return [json.loads(fields[b"batch"]) for _, fields in entries if b"batch" in fields]
