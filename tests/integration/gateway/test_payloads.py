"""Payloads of flag systems where SDKs poll; that these serve them rightly is tested in `flag_systems` and `node`."""

from __future__ import annotations

import pytest
import redis

from client_allocations import allocation
from gateways import RunningGateway, publish
from servers import wait_until
from trimtab.exporters import EXPORTERS

POLLED = [("/api/features/sdk-any", "growthbook"), ("/api/client/features", "unleash"), ("/flagd/flags.json", "flagd")]


@pytest.mark.parametrize(("path", "form"), POLLED)
def test_a_payload_is_what_the_exporter_renders_of_all_experiments(
    gateway: RunningGateway, redis_client: redis.Redis, path: str, form: str
) -> None:
    search = allocation(1, experiment_id="search")
    publish(redis_client, search)
    wait_until(lambda: gateway.revision("search") == 1)
    assert gateway.get(path).json() == EXPORTERS[form].render([allocation(1), search])


@pytest.mark.parametrize(("path", "form"), POLLED)
def test_its_tag_lasts_until_a_publication(
    gateway: RunningGateway, redis_client: redis.Redis, path: str, form: str
) -> None:
    tag = gateway.get(path).headers["etag"]
    again = gateway.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    newer = allocation(2, {"a": 0.1, "b": 0.9}, epoch=2)
    publish(redis_client, newer)
    wait_until(lambda: gateway.revision() == 2)
    assert gateway.get(path, headers={"If-None-Match": tag}).json() == EXPORTERS[form].render([newer])


@pytest.mark.parametrize("path", ["/api/client/register", "/api/client/metrics"])
def test_what_unleash_sdks_say_of_themselves_is_taken(gateway: RunningGateway, path: str) -> None:
    assert gateway.post(path, json={"appName": "shop", "instanceId": "1"}).status_code == 202
