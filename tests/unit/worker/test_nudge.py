"""Nudges: one that cannot be sent costs a log line, and little time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from celery import Celery
from structlog.testing import capture_logs

from servers import plain_client
from trimtab.settings import Settings
from trimtab_worker.app import celery_settings
from trimtab_worker.embedded import EmbeddedServer
from trimtab_worker.tasks.nudge import send

REFUSED = "redis://:canary-password@127.0.0.1:1/0"


def app_on(broker_url: str) -> Celery:
    app = Celery("test")
    app.conf.update(celery_settings(Settings.load(redis_url=REFUSED, broker_url=broker_url)))
    return app


@pytest.fixture
def _broker_is_away() -> Iterator[None]:
    with app_on(REFUSED):
        yield


@pytest.mark.usefixtures("_broker_is_away")
def test_without_a_broker_a_nudge_is_given_up_soon_and_said_so() -> None:
    started = time.monotonic()
    with capture_logs() as logs:
        assert not send("drain", 0, expires=5)
    assert time.monotonic() - started < 5
    assert [entry["event"] for entry in logs] == ["nudge_not_sent"]
    assert "canary-password" not in str(logs)


def test_a_full_broker_refuses_a_nudge_and_nothing_breaks(own_server: EmbeddedServer) -> None:
    with app_on(own_server.url), plain_client(own_server.url) as client:
        client.config_set("maxmemory", 1)
        with capture_logs() as logs:
            assert not send("drain", 0, expires=5)
        client.config_set("maxmemory", 0)
        assert send("drain", 0, expires=5)
        assert client.llen("cel:ingest") == 1
    assert [entry["event"] for entry in logs] == ["nudge_not_sent"]
