"""Fixtures every test may ask for; a test that needs a server gets a real one and is never skipped.

`server` is shared and empty at the start of each test, `own_server` belongs to one test, which may kill it, `broker`
is a second shared server. `redis_client` and `own_client` talk to the first two. `check` records what a fault did.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from faults.reporting import check as check
from faults.reporting import pytest_itemcollected as pytest_itemcollected
from faults.reporting import pytest_terminal_summary as pytest_terminal_summary
from servers import plain_client, start_server
from trimtab_worker.embedded import EmbeddedServer

# No deadline: two shared cores make single examples slow for reasons outside the code. In CI the same examples are
# drawn each time, so that a red build is about the change; everywhere else hypothesis goes on searching.
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

_OURS = ("TRIMTAB_", "REDIS_URL", "BROKER_URL")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the developer's own addresses and settings."""
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with start_server(tmp_path_factory.mktemp("data-server")) as server:
        yield server


@pytest.fixture(scope="session")
def _session_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with start_server(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
def server(_session_server: EmbeddedServer) -> EmbeddedServer:
    """The shared data server, emptied."""
    return _emptied(_session_server)


@pytest.fixture
def broker(_session_broker: EmbeddedServer) -> EmbeddedServer:
    """The shared broker, emptied."""
    return _emptied(_session_broker)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A data server of the test's own: it may be stopped, killed and started again on the same port."""
    with start_server(tmp_path / "own-server") as server:
        yield server


@pytest.fixture
def redis_client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A plain client of `server`."""
    with plain_client(server.url) as client:
        yield client


@pytest.fixture
def own_client(own_server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A plain client of `own_server`."""
    with plain_client(own_server.url) as client:
        yield client


def _emptied(server: EmbeddedServer) -> EmbeddedServer:
    with plain_client(server.url) as client:
        client.flushall()
        client.script_flush()
    return server
