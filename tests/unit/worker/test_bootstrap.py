"""The composition root: lazy, one per process, safe over forks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trimtab.errors import InvalidInput, Unavailable
from trimtab.settings import Settings
from trimtab_worker import bootstrap
from trimtab_worker.bootstrap import Services
from trimtab_worker.embedded import EmbeddedServer


@pytest.fixture
def services(server: EmbeddedServer) -> Iterator[Services]:
    services = Services(Settings.load(redis_url=server.url, partitions=3))
    yield services
    services.close()


def test_building_it_opens_nothing() -> None:
    services = Services(Settings.load(redis_url="redis://127.0.0.1:1/0"))
    assert services.ingest
    services.close()


def test_the_log_says_how_many_partitions_there_are_and_settings_only_before(services: Services) -> None:
    assert services.partition_count() == 3
    services.publications.create_log(2)
    assert services.partition_count() == 2
    assert services.known_partitions() == 2


def test_settings_stand_in_for_a_log_that_cannot_be_asked() -> None:
    services = Services(Settings.load(redis_url="redis://127.0.0.1:1/0", partitions=5))
    assert services.known_partitions() == 5
    services.close()


@pytest.mark.parametrize("number", [-1, 3, False, "0", 0.0, None, [0]])
def test_a_partition_that_does_not_exist_is_refused(number: object, services: Services) -> None:
    services.ingest(0)
    with pytest.raises(InvalidInput, match="no partition"):
        services.partition(number)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no partition"):
        services.ingest(number)  # type: ignore[arg-type]


def test_a_drain_finds_the_state_it_left(services: Services) -> None:
    assert services.ingest(0) is services.ingest(0)


def test_a_child_process_gets_services_of_its_own(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    bootstrap.reset()
    mine = bootstrap.current()
    assert bootstrap.current() is mine
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    theirs = bootstrap.current()
    assert theirs is not mine
    assert theirs.client is not mine.client
    bootstrap.reset()
    monkeypatch.undo()
    mine.close()
    bootstrap.reset()


def test_without_an_address_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(tmp_path))
    with pytest.raises(Unavailable, match="trimtab up"):
        _ = Services().client
