"""The OpenFeature Remote Evaluation Protocol, through the client that people run and through plain requests."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
import requests
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, GeneralError, OpenFeatureError, TargetingKeyMissingError
from openfeature.flag_evaluation import Reason

from client_allocations import NOW, allocation
from gateways import RunningGateway, publish, running_gateway, successor
from servers import wait_until
from trimtab.client.bucketing import bucket
from trimtab.clock import system_clock
from trimtab.schema.allocation import Allocation
from trimtab_worker.embedded import EmbeddedServer

N = 20_000 if os.environ.get("TRIMTAB_FAULTS") == "full" else 4_000  # each answer is compared with the rule's anyway
UNITS = [f"user-{number}" for number in range(N)]
BEFORE, AFTER = {"A": 0.2, "B": 0.3, "C": 0.5}, {"A": 0.1, "B": 0.3, "C": 0.6}
MOVED = 0.1  # the total variation distance


@pytest.fixture
def provider(gateway: RunningGateway) -> OFREPProvider:
    return OFREPProvider(gateway.url)


def served(provider: OFREPProvider) -> list[str]:
    def ask(unit: str) -> str:
        return provider.resolve_string_details("checkout", "none", EvaluationContext(unit)).value

    with ThreadPoolExecutor(4) as askers:
        return list(askers.map(ask, UNITS))


def by_rule(document: Allocation) -> list[str]:
    """Each unit's variant by the published bucket rule."""
    places = (bucket(document.salt, unit) for unit in UNITS)
    return [next(variant for variant, start, end in document.ranges if start <= place < end) for place in places]


@pytest.mark.timeout(300)
def test_units_split_by_weight_and_move_by_the_total_variation_only(
    gateway: RunningGateway, provider: OFREPProvider, redis_client: redis.Redis
) -> None:
    """By the bucket rule, shares within 3 standard errors; plain cumulative ranges would move .20 instead of .10."""
    first = allocation(2, BEFORE)
    publish(redis_client, first)
    wait_until(lambda: gateway.revision() == 2)
    before = served(provider)
    assert before == by_rule(first)
    counts = Counter(before)
    for variant, share in BEFORE.items():
        assert abs(counts[variant] / N - share) <= 3 * math.sqrt(share * (1 - share) / N)

    second = successor(first, AFTER)
    publish(redis_client, second)
    wait_until(lambda: gateway.revision() == 3)
    after = served(provider)
    assert after == by_rule(second)
    moved = sum(one != other for one, other in zip(before, after, strict=True)) / N
    assert abs(moved - MOVED) <= 3.3 * math.sqrt(MOVED * (1 - MOVED) / N)
    assert {one for one, other in zip(before, after, strict=True) if one != other} == {"A"}, "only A lost units"


def test_an_answer_says_why_and_what_an_outcome_needs(provider: OFREPProvider) -> None:
    found = provider.resolve_string_details("checkout", "none", EvaluationContext("user-1"))
    assert found.reason is Reason.SPLIT
    assert found.variant == found.value
    assert found.flag_metadata == {"epoch": 1, "propensity": 0.5, "revision": 1, "incarnation": "one"}


def test_a_stale_allocation_is_served_and_called_stale(
    gateway: RunningGateway, provider: OFREPProvider, redis_client: redis.Redis
) -> None:
    publish(redis_client, allocation(2, valid_until=NOW))
    wait_until(lambda: gateway.revision() == 2)
    assert system_clock() > NOW + 60_000
    found = provider.resolve_string_details("checkout", "none", EvaluationContext("user-1"))
    assert (found.reason, found.variant in ("a", "b")) == (Reason.STALE, True)


def test_the_client_understands_every_refusal(provider: OFREPProvider) -> None:
    with pytest.raises(FlagNotFoundError, match="no running experiment 'nope'"):
        provider.resolve_string_details("nope", "none", EvaluationContext("u"))
    with pytest.raises(TargetingKeyMissingError):
        provider.resolve_string_details("checkout", "none", EvaluationContext())
    with pytest.raises(OpenFeatureError, match="text of 1 to 256"):
        provider.resolve_string_details("checkout", "none", EvaluationContext("x" * 257))


def test_the_client_rests_for_as_long_as_it_is_told(server: EmbeddedServer, redis_client: redis.Redis) -> None:
    publish(redis_client, allocation(1))
    with running_gateway(server.url, requests_per_second=1) as gateway:
        provider = OFREPProvider(gateway.url)

        def ask_until_refused() -> None:
            for unit in UNITS:
                provider.resolve_string_details("checkout", "none", EvaluationContext(unit))

        with pytest.raises(GeneralError, match="Rate limited, retry after: 1"):
            ask_until_refused()
        with pytest.raises(GeneralError, match="paused due to TooManyRequests"):
            provider.resolve_string_details("checkout", "none", EvaluationContext("u"))


CASES: list[tuple[Any, int, str]] = [
    (b"{", 400, "PARSE_ERROR"),
    (b"[]", 400, "PARSE_ERROR"),
    (b"[" * 1000 + b"]" * 1000, 400, "PARSE_ERROR"),
    (b'{"context": NaN}', 400, "PARSE_ERROR"),
    (b'{"context": {"targetingKey": "\\ud800"}}', 400, "PARSE_ERROR"),
    (b"\xff\xfe", 400, "PARSE_ERROR"),
    (b"{}", 400, "TARGETING_KEY_MISSING"),
    (b'{"context": {}}', 400, "TARGETING_KEY_MISSING"),
    (b'{"context": {"targetingKey": ""}}', 400, "TARGETING_KEY_MISSING"),
    (b'{"context": []}', 400, "INVALID_CONTEXT"),
    (b'{"context": {"targetingKey": 7}}', 400, "INVALID_CONTEXT"),
]


@pytest.mark.parametrize(("body", "status", "code"), CASES)
@pytest.mark.parametrize("path", ["/checkout", ""])
def test_bodies_that_cannot_be_evaluated_get_the_protocols_codes(
    gateway: RunningGateway, path: str, body: bytes, status: int, code: str
) -> None:
    answer = gateway.post(f"/ofrep/v1/evaluate/flags{path}", data=body)
    found = answer.json()
    assert (answer.status_code, found["errorCode"]) == (status, code)
    assert found["errorDetails"]
    assert found.get("key") == ("checkout" if path else None)


@pytest.fixture
def bulk(gateway: RunningGateway) -> Iterator[Any]:
    def ask(unit: str, tag: str | None = None) -> requests.Response:
        headers = {"If-None-Match": tag} if tag else {}
        return gateway.post("/ofrep/v1/evaluate/flags", json={"context": {"targetingKey": unit}}, headers=headers)

    return ask


def test_bulk_evaluates_every_experiment_as_single_does(
    gateway: RunningGateway, bulk: Any, redis_client: redis.Redis
) -> None:
    publish(redis_client, allocation(1, experiment_id="search"))
    wait_until(lambda: gateway.revision("search") == 1)
    flags = bulk("user-7").json()["flags"]
    assert flags == [gateway.evaluate("user-7", "checkout"), gateway.evaluate("user-7", "search")]


def test_a_bulk_tag_lasts_until_something_changes_for_this_unit(
    gateway: RunningGateway, bulk: Any, redis_client: redis.Redis
) -> None:
    tag = bulk("user-7").headers["etag"]
    assert (bulk("user-7", tag).status_code, bulk("user-7", tag).content) == (304, b"")
    other = next(unit for unit in UNITS if gateway.evaluate(unit)["value"] != gateway.evaluate("user-7")["value"])
    assert bulk(other, tag).status_code == 200, "another unit sees another variant"
    publish(redis_client, allocation(2))
    wait_until(lambda: gateway.revision() == 2)
    assert bulk("user-7", tag).status_code == 200
