"""Clients that repeat nothing silently, and errors that say what to do without telling the password."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis import exceptions

from trimtab.adapters.redis.connection import address_of, connect, connect_async, reaching, redact, unavailable
from trimtab.errors import ConfigurationError, Unavailable

SECRET = "canary-4711"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(tmp_path))


@pytest.mark.parametrize("build", [connect, connect_async])
def test_a_client_never_repeats_a_command_on_its_own(build: object) -> None:
    client = build("redis://127.0.0.1:1/3", read_timeout=0.5)  # type: ignore[operator]
    settings = client.connection_pool.connection_kwargs
    assert settings["retry"].get_retries() == 0
    assert (settings["protocol"], settings["legacy_responses"]) == (3, False)
    assert settings["socket_timeout"] == 0.5
    assert address_of(client) == "127.0.0.1:1/3"


def test_the_address_comes_from_the_environment_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:7001/2")
    assert address_of(connect()) == "127.0.0.1:7001/2"
    assert address_of(connect("unix:///run/some.sock")) == "/run/some.sock"


def test_no_address_at_all_is_a_sentence_that_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match=r"trimtab up.*REDIS_URL"):
        connect()


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@host/0",
        f"redis://:{SECRET}@host:notaport/0",
        f"redis://:{SECRET}@h:1/0?max_connections=x",
        f"redis://:a/{SECRET}@host",
        f":{SECRET}@host",
        SECRET,
    ],
)
def test_a_malformed_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


def test_redacting_keeps_the_place_and_drops_the_rest() -> None:
    assert redact(f"redis://me:{SECRET}@host:6380/1?password={SECRET}") == "redis://***@host:6380/1"
    assert redact("redis://host/1") == "redis://host/1"


def test_an_unreachable_server_is_unavailable_and_the_password_stays_out_of_it() -> None:
    client = connect(f"redis://:{SECRET}@127.0.0.1:1/0", connect_timeout=0.5)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1/0 cannot be reached: start it") as caught, reaching(client):
        client.ping()
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (exceptions.AuthenticationError("WRONGPASS"), "refuses the login"),
        (exceptions.BusyLoadingError("LOADING"), "still loading"),
        (exceptions.MaxConnectionsError("Too many"), "connections"),
        (exceptions.InvalidResponse("Protocol Error: HTTP"), "not a Redis server"),
        (exceptions.TimeoutError("Timeout"), "in time"),
        (exceptions.ConnectionError("refused"), "cannot be reached"),
    ],
)
def test_each_failure_says_in_one_sentence_what_to_do(error: Exception, advice: str) -> None:
    text = str(unavailable(error, connect("redis://127.0.0.1:1/0")))
    assert advice in text
    assert text.endswith(".")
    assert text.count(": ") == 1


def test_errors_that_are_answers_pass_through() -> None:
    client = redis.Redis()
    with pytest.raises(exceptions.ResponseError), reaching(client):
        raise exceptions.ResponseError("WRONGTYPE")
