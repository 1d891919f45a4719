"""Settings of everything that runs: from arguments, the environment, `.env` and a TOML file, in that order.

Every name takes the prefix `TRIMTAB_`, nested ones two underscores (`TRIMTAB_PERIODS__TICK_SECONDS=2`). `REDIS_URL` and
`BROKER_URL` are read without a prefix too. The TOML file is `trimtab.toml`, or what `TRIMTAB_CONFIG` names. Each number
stands beside its reason.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from trimtab import addresses
from trimtab.addresses import Addresses
from trimtab.errors import as_configuration_error

PREFIX = "TRIMTAB_"
MIB = 1 << 20

Period = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Periods(BaseModel):
    """How often beat sends each nudge, in seconds; a nudge that is not taken within its period evaporates."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tick_seconds: Period = Field(1.0, description="Look for due recomputes; the shortest recompute period is 1 s.")
    revive_seconds: Period = Field(
        5.0, description="Send each partition a drain: all that a killed ingest worker delays events by."
    )
    maintain_seconds: Period = Field(
        60.0, description="Trim and snapshot where no drain does; drains do both themselves, so seldom is enough."
    )
    heartbeat_seconds: Period = Field(
        10.0, description="Signs of life of workers and beat; three missed ones are a failed health check."
    )


class Gateway(BaseModel):
    """The HTTP gateway: where it listens, whom it serves, and when it asks producers to slow down."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Where `serve` listens; beyond this machine only with API keys.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Its port; 0 takes a free one.")
    reader_keys: SecretStr | None = Field(
        None, description="API keys that may read, with commas between; each plain, or `sha256:` and its digest in hex."
    )
    producer_keys: SecretStr | None = Field(None, description="API keys that may send events, in the same form.")
    requests_per_second: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Requests a second of one key, or of one address without keys, before 429; default: no limit."
    )
    max_unread_entries: Annotated[int, Field(ge=1)] = Field(
        500_000, description="Unread entries in a partition's log before 429: some 10 s of folding, 70 MB of rows."
    )


class Settings(BaseSettings):
    """All settings; addresses are secrets because they may hold a password, and never show in a repr or an error."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,  # an empty variable in a compose file means: not set
        extra="ignore",  # `.env` belongs to the whole application; `unknown_names` finds what was misspelled
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    redis_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("TRIMTAB_REDIS_URL", "REDIS_URL"),
        description="The data server; default: the one `trimtab up` started.",
    )
    broker_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("TRIMTAB_BROKER_URL", "BROKER_URL"),
        description="The broker, a server of its own: a full shared one would refuse the nudges that empty it.",
    )
    signing_secret: SecretStr | None = Field(
        None, description="Secrets that signing keys are derived from, newest first; of workers and operators only."
    )
    signing_key: SecretStr | None = Field(
        None, description="A producer's own key, as `keys issue` prints it; clients read it too."
    )
    data_dir: Path = Field(addresses.DEFAULT_DATA_DIR, description="Where `up` keeps its servers and their addresses.")
    partitions: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Partitions of a new log; one on one core folds more than most companies send."
    )
    log_retention_bytes: Annotated[int, Field(ge=MIB)] = Field(
        256 * MIB, description="Log kept per partition behind the fold: about 8 million events in columns, to rebuild."
    )
    drain_park_seconds: Annotated[float, Field(ge=0, le=10)] = Field(
        10.0, description="How long a drain waits for more: six nudges a minute, and half the soft time limit of 20 s."
    )
    drain_block_ms: Annotated[int, Field(ge=1, le=4000)] = Field(
        1000, description="The longest single read; beyond 4000 redis clients take silence for a lost server."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is JSON lines unless a terminal reads along."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Lowest level that is logged; `DEBUG` also shows where an unexpected error arose."
    )
    periods: Periods = Periods()
    gateway: Gateway = Gateway()

    @classmethod
    def load(cls, **given: Any) -> Self:
        """The settings in force, with `given` above all other sources.

        Raises:
            ConfigurationError: a value cannot be used; the sentence names it and never repeats a secret.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise as_configuration_error(error, subject="Settings") from None

    @property
    def directory(self) -> Path:
        """`data_dir` with `~` resolved."""
        return self.data_dir.expanduser()

    def secrets(self) -> set[str]:
        """Every text that must show nowhere: passwords in addresses, signing secrets and keys, API keys."""
        found = {_password(plain(url) or "") for url in (self.redis_url, self.broker_url)}
        lists = (self.signing_secret, self.signing_key, self.gateway.reader_keys, self.gateway.producer_keys)
        for text in map(plain, lists):
            found |= {part.strip() for part in (text or "").split(",")}
        return found - {""}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, Path(os.environ.get("TRIMTAB_CONFIG", "trimtab.toml")))
        return init_settings, env_settings, dotenv_settings, toml


GROUPS: dict[str, type[BaseModel]] = {"periods": Periods, "gateway": Gateway}
"""Nested settings by the name of their group."""


def resolve_addresses(settings: Settings) -> Addresses:
    """Where data server and broker are: what the settings name, else what a running `up` announces.

    Raises:
        Unavailable: neither names a data server.
    """
    return addresses.resolve(plain(settings.redis_url), plain(settings.broker_url), settings.directory)


def unknown_names() -> list[str]:
    """Environment variables with our prefix that are no setting: most likely misspelled."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {"TRIMTAB_CONFIG"}
    nested = {f"{PREFIX}{group}__{name}".upper() for group, model in GROUPS.items() for name in model.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known | nested)


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:  # no address at all: whoever connects says so
        return ""


def plain(secret: SecretStr | None) -> str | None:
    """What a secret setting holds."""
    return secret.get_secret_value() if secret is not None else None
