"""SE-04: forged events on a real server, beside publishers, flag clients and a gateway that sign."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
import redis

from faults.reporting import Check
from gateways import running_gateway
from logs import Log, batch, event, forged
from servers import wait_until
from trimtab.adapters.redis.connection import connect
from trimtab.adapters.redis.partition import RedisPartition
from trimtab.adapters.redis.publication import RedisPublications
from trimtab.client.flags import FlagClient
from trimtab.client.publisher import AsyncPublisher, Publisher
from trimtab.schema.signing import Keyring
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.services.signing import issue, require, revoke

RING = Keyring((b"canary-secret-of-forty-characters-length",))


@pytest.fixture
def log(server: EmbeddedServer) -> Iterator[Log]:
    with connect(server.url) as client:
        publications = RedisPublications(client)
        publications.create_log(1)
        log = Log(RedisPartition(client, 0, keyring=RING), publications, unit="unit", exposure_tokens=True)
        require([log.store], RING, required=True)
        yield log


def test_forged_events_count_nothing_and_signed_ones_everything(
    log: Log, server: EmbeddedServer, redis_client: redis.Redis, check: Check
) -> None:
    key, old = issue([log.store], RING, "web"), issue([log.store], RING, "old")
    with (
        FlagClient(server.url, experiments=["checkout"], signing_key=key.text()) as flags,
        Publisher(server.url, signing_key=key.text()) as publisher,
    ):
        wait_until(lambda: flags.variant("checkout", "u0").epoch, what="the first weights")
        served = {f"u{number}": flags.variant("checkout", f"u{number}") for number in range(50)}
        rows = [
            event(
                variant=one.variant,
                unit_id=unit_id,
                epoch=one.epoch,
                token=flags.token("checkout", unit_id, one),
                occurred_at=log.store.now(),
            )
            for unit_id, one in served.items()
        ]
        for row in rows:
            publisher.publish(row)
        publisher.flush(30)

    async def once_more() -> None:
        async with AsyncPublisher(server.url, signing_key=key.text()) as twin:
            await twin.publish(rows[0])

    asyncio.run(once_more())
    assert log.drain().folded == len(rows)

    revoke([log.store], RING, "old")
    fresh = {**rows[0], "unit_id": "forged"}
    raw = json.dumps(fresh).encode()
    other = json.dumps({**fresh, "variant": {"control": "b", "b": "control"}[fresh["variant"]]}).encode()
    forged(log, fresh)
    forged(log, raw, **{**key.sign("event", raw), "mac": b"0" * 64})
    forged(log, other, **key.sign("event", raw))
    forged(log, raw, **old.sign("event", raw))
    forged(log, batch([fresh]), "batch")
    forged(log, raw, **key.sign("event", raw))  # the producer's own key, and a token of somebody else's exposure
    report = log.drain()
    observed = (report.folded, log.dead_codes(), log.state().counters["dead:auth"])
    check("SE-04", (0, ["auth"] * 6, 6), observed)


def test_a_gateway_signs_what_it_takes(log: Log, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    log.control.update("checkout", {"exposure_tokens": False})
    monkeypatch.setenv("TRIMTAB_SIGNING_KEY", issue([log.store], RING, "gateway").text())
    with running_gateway(server.url) as gateway:
        wait_until(gateway.revision, what="the gateway's first weights")
        for unit_id in ("u1", "u2"):
            sent = gateway.post("/v1/events", json=event(unit_id=unit_id, occurred_at=log.store.now()))
            assert sent.status_code == 202, sent.text
    assert log.drain().folded == 2
