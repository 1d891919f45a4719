"""Node's SDKs poll a gateway, and serve every unit what Python's SDKs, and our own rule, serve it.

`make test-node` installs the SDKs and runs this; bounds as in `tests/integration/flag_systems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flag_systems import (
    FIXED_ORDER,
    MANY_SEGMENTS,
    MOVED,
    SHARES,
    START,
    UNITS,
    Variants,
    assert_split,
    changed,
    document_of,
    served,
    served_by_python,
    written,
)
from gateways import RunningGateway, publish, running_gateway
from servers import wait_until
from trimtab.client.bucketing import bucket
from trimtab.schema.allocation import Allocation
from trimtab.schema.base import PARTS
from trimtab_worker.embedded import EmbeddedServer

PROGRAM = Path(__file__).with_name("serve.mjs")
Serve = Callable[[str, Allocation], Variants]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def gateway(server: EmbeddedServer) -> Iterator[RunningGateway]:
    with running_gateway(server.url) as running:
        yield running


@pytest.fixture
def serve(gateway: RunningGateway, redis_client: redis.Redis, tmp_path: Path) -> Serve:
    """What a Node SDK serves once an allocation is published; flagd reads the gateway's document from a file."""
    published = 0

    def run(sdk: str, wanted: Allocation) -> Variants:
        nonlocal published
        published += 1
        publish(redis_client, renumbered(wanted, published))
        wait_until(lambda: gateway.revision() == published, 30, what=f"revision {published}")
        source = gateway.url
        if sdk == "flagd":
            file = tmp_path / f"{published}.json"
            file.write_bytes(gateway.get("/flagd/flags.json").content)
            source = str(file)
        return served(["node", str(PROGRAM), sdk], source)[0]

    return run


def renumbered(wanted: Allocation, revision: int) -> Allocation:
    fields = wanted.model_dump(exclude={"digest", "revision"})
    return Allocation.seal(**fields, revision=revision)


def by_rule(wanted: Allocation) -> list[str]:
    """What `FlagClient` answers, from the rule itself."""
    owner = [""] * PARTS
    for variant, start, end in wanted.ranges:
        owner[start:end] = [variant] * (end - start)
    return [owner[bucket(wanted.salt, f"user-{number}")] for number in range(UNITS)]


@pytest.mark.parametrize("sdk", ["growthbook", "unleash", "flagd"])
def test_an_sdk_serves_the_weights_and_moves_only_their_total_variation(sdk: str, serve: Serve) -> None:
    before, after, fixed = serve(sdk, START), serve(sdk, MOVED), serve(sdk, FIXED_ORDER)
    assert_split(before, {variant: parts / PARTS for variant, parts in START.weights.items()})
    assert_split(after, SHARES)
    assert changed(before, after) == pytest.approx(0.1, abs=0.007)
    assert changed(before, fixed) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("sdk", ["growthbook", "unleash"])
def test_node_and_python_agree_on_every_unit(sdk: str, serve: Serve, tmp_path: Path) -> None:
    allocations = {"moved": MOVED, "many": MANY_SEGMENTS}
    files = [written(document_of(wanted, sdk), tmp_path, name) for name, wanted in allocations.items()]
    assert [serve(sdk, wanted) for wanted in allocations.values()] == served_by_python(sdk, *files)


def test_flagd_buckets_every_unit_as_our_own_client_does(serve: Serve) -> None:
    assert serve("flagd", MANY_SEGMENTS) == by_rule(MANY_SEGMENTS)


def test_remote_evaluation_buckets_every_unit_as_our_own_client_does(serve: Serve) -> None:
    """A request a unit, so the two allocations of the move, and no more."""
    before, after = serve("ofrep", START), serve("ofrep", MOVED)
    assert (before, after) == (by_rule(START), by_rule(MOVED))
    assert_split(after, SHARES)
    assert changed(before, after) == pytest.approx(0.1, abs=0.007)


def test_flagd_for_python_assigns_units_in_its_own_way(tmp_path: Path) -> None:
    """Its core hashes a CBOR encoding since 2.0: shares are the same, units are drawn anew.

    When this fails, both hash alike again, and what the documents say of the two can go.
    """
    (python,) = served_by_python("flagd", written(document_of(START, "flagd"), tmp_path, "start"))
    agreement = 1 - changed(python, by_rule(START))
    assert agreement == pytest.approx(0.2**2 + 0.3**2 + 0.5**2, abs=0.015)


