"""Settings: where they come from, in which order, and that addresses stay secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimtab import addresses
from trimtab.addresses import Addresses, LocalServers
from trimtab.errors import ConfigurationError, Unavailable
from trimtab.settings import Settings, resolve_addresses, unknown_names

SECRET = "canary-password"
URL = f"redis://user:{SECRET}@db.example:6379/0"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_need_nothing_at_all() -> None:
    settings = Settings.load()
    assert settings.redis_url is None
    assert settings.partitions == 1
    assert settings.log_retention_bytes == 256 * 2**20
    assert settings.drain_park_seconds == 10


@pytest.mark.parametrize("name", ["REDIS_URL", "TRIMTAB_REDIS_URL", "redis_url"])
def test_the_address_is_read_with_and_without_the_prefix(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, URL)
    assert resolve_addresses(Settings.load()) == Addresses(URL, URL)


def test_our_own_name_wins_over_the_common_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://theirs:6379/0")
    monkeypatch.setenv("TRIMTAB_REDIS_URL", URL)
    assert resolve_addresses(Settings.load()).redis_url == URL


def test_arguments_beat_the_environment_which_beats_dotenv_which_beats_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trimtab.toml").write_text("partitions = 2\nlog_level = 'ERROR'\n[periods]\ntick_seconds = 7\n")
    assert Settings.load().partitions == 2
    (tmp_path / ".env").write_text("TRIMTAB_PARTITIONS=3\nSOMEBODY_ELSES=1\nREDIS_URL=redis://from-dotenv:1/0\n")
    assert Settings.load().partitions == 3
    monkeypatch.setenv("TRIMTAB_PARTITIONS", "4")
    assert Settings.load().partitions == 4
    settings = Settings.load(partitions=5)
    assert (settings.partitions, settings.log_level, settings.periods.tick_seconds) == (5, "ERROR", 7)
    assert resolve_addresses(settings).redis_url == "redis://from-dotenv:1/0"


def test_a_toml_file_of_any_name_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("partitions = 9\nredis_url = 'redis://from-toml:1/0'\n")
    monkeypatch.setenv("TRIMTAB_CONFIG", str(tmp_path / "other.toml"))
    assert Settings.load().partitions == 9
    assert resolve_addresses(Settings.load()).redis_url == "redis://from-toml:1/0"


def test_nested_names_take_two_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_PERIODS__TICK_SECONDS", "0.5")
    assert Settings.load().periods.tick_seconds == 0.5


def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    assert Settings.load().redis_url is None


def test_no_secret_shows_in_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", URL)
    monkeypatch.setenv("BROKER_URL", URL)
    settings = Settings.load()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_a_wrong_value_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_DRAIN_PARK_SECONDS", "11")
    with pytest.raises(ConfigurationError, match="drain_park_seconds") as caught:
        Settings.load()
    assert "\n" not in str(caught.value)


def test_without_any_address_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"trimtab up.*REDIS_URL"):
        resolve_addresses(Settings.load(data_dir=tmp_path))


def test_the_address_file_of_a_running_up_is_found_and_a_stale_one_is_not(tmp_path: Path) -> None:
    theirs = Addresses("redis://127.0.0.1:1/0", "redis://127.0.0.1:2/0")
    settings = Settings.load(data_dir=tmp_path)
    addresses.write_file(tmp_path, LocalServers(theirs, (os.getpid(),)))
    assert resolve_addresses(settings) == theirs
    addresses.write_file(tmp_path, LocalServers(theirs, (os.getpid(), 2**22 + 1)))  # beyond any process id
    with pytest.raises(Unavailable):
        resolve_addresses(settings)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"redis_url": 1, "broker_url": 2, "pids": ["x"]}'])
def test_a_garbled_address_file_is_no_address(content: str, tmp_path: Path) -> None:
    (tmp_path / addresses.FILE_NAME).write_text(content)
    assert addresses.read_file(tmp_path) is None


def test_a_misspelled_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_PARTITION", "3")
    monkeypatch.setenv("TRIMTAB_PERIODS__TICK_SECONDS", "3")
    assert unknown_names() == ["TRIMTAB_PARTITION"]
