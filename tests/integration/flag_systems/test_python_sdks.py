"""Every exported document, served by the flag system's own Python SDK over 20,000 units.

Moving .2/.3/.5 to .1/.3/.6 has a total variation of .1. The share that changes variant is binomial: its standard error
is √(.1 · .9 / 20,000) = .0021, and .007 is more than three of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from openfeature.contrib.tools.flagd.core.targeting import targeting
from openfeature.evaluation_context import EvaluationContext

from flag_systems import (
    CONCLUDED,
    FIXED_ORDER,
    MANY_SEGMENTS,
    SHARES,
    START,
    Variants,
    after_start,
    assert_split,
    changed,
    document_of,
    served_by_python,
    written,
)
from gateways import publish, running_gateway
from servers import wait_until
from trimtab.exporters import EXPORTERS, export
from trimtab.schema.base import PARTS
from trimtab_worker.embedded import EmbeddedServer

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=EXPORTERS)
def sdk(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def serves(sdk: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Variants]:
    """What the SDK serves from each of these documents, one after the other in one process."""
    documents = {
        "start": document_of(START, sdk),
        "moved": after_start(sdk),
        "fixed order": document_of(FIXED_ORDER, sdk),
        "many segments": document_of(MANY_SEGMENTS, sdk),
        "concluded": document_of(CONCLUDED, sdk),
    }
    directory = tmp_path_factory.mktemp(sdk)
    files = [written(document, directory, name) for name, document in documents.items()]
    return dict(zip(documents, served_by_python(sdk, *files), strict=True))


def test_an_sdk_serves_the_weights_and_moves_only_their_total_variation(serves: dict[str, Variants]) -> None:
    """The teeth: the same weights in one range per variant, always in one order, move twice as many units."""
    assert_split(serves["start"], {variant: parts / PARTS for variant, parts in START.weights.items()})
    assert_split(serves["moved"], SHARES)
    assert_split(serves["fixed order"], SHARES)
    assert changed(serves["start"], serves["moved"]) == pytest.approx(0.1, abs=0.007)
    assert changed(serves["start"], serves["fixed order"]) == pytest.approx(0.2, abs=0.01)


def test_an_sdk_serves_the_chosen_variant_to_everybody_once_concluded(serves: dict[str, Variants]) -> None:
    assert set(serves["concluded"]) == {"B"}


def test_an_sdk_serves_many_segments_and_nobody_a_halted_variant(sdk: str, serves: dict[str, Variants]) -> None:
    """Shares as the target rounds them: where it knows whole percents only, they differ from the weights."""
    placement = export(MANY_SEGMENTS, sdk).placements[0]
    assert placement.shares["E"] == 0
    assert_split(serves["many segments"], placement.shares)
    assert "E" not in serves["many segments"]


@pytest.mark.parametrize("sdk", ["growthbook", "unleash"], scope="module")
def test_an_sdk_that_polls_a_gateway_serves_what_the_exported_file_does(
    sdk: str, server: EmbeddedServer, redis_client: redis.Redis, tmp_path: Path
) -> None:
    publish(redis_client, MANY_SEGMENTS)
    with running_gateway(server.url) as gateway:
        wait_until(lambda: gateway.revision() == MANY_SEGMENTS.revision, 30)
        polled, read = served_by_python(sdk, gateway.url, written(document_of(MANY_SEGMENTS, sdk), tmp_path, "many"))
    assert polled == read


@pytest.mark.parametrize("unit", [None, "", "user-1"])
def test_flagd_serves_the_default_variant_where_nobody_is_named(unit: str | None) -> None:
    """Not the variant that happens to own the bucket of an empty text."""
    rule = document_of(START, "flagd")["flags"]["checkout"]["targeting"]
    chosen = targeting("checkout", rule, EvaluationContext(targeting_key=unit))
    assert (chosen is None) == (not unit)
