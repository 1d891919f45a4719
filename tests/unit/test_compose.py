"""docker-compose.yml: valid by the specification's own schema, and every command in it is one that exists."""

from __future__ import annotations

import json
import shlex
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command

from trimtab.settings import Gateway
from trimtab_worker.cli.app import app as cli
from trimtab_worker.cli.system import COMMANDS
from trimtab_worker.embedded import _BASE_CONFIG
from trimtab_worker.health import ROLES

ROOT = Path(__file__).parents[2]
WORKERS = ("ingest", "decide", "beat")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def test_it_is_a_compose_file(compose: dict[str, Any]) -> None:
    """The schema is the compose specification's, as the package check-jsonschema ships it."""
    text = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    jsonschema.validate(compose, json.loads(text))


@pytest.mark.parametrize("role", WORKERS)
def test_workers_run_the_very_commands_that_up_runs(role: str, services: dict[str, Any]) -> None:
    python, dash, module, *arguments = COMMANDS[role]
    assert (python, dash, module) == (sys.executable, "-m", "celery")
    assert services[role]["command"][0] == "celery"
    assert sorted(services[role]["command"][1:]) == sorted(arguments)


@pytest.mark.parametrize("role", WORKERS)
def test_each_worker_is_healthy_by_its_own_heartbeat(role: str, services: dict[str, Any]) -> None:
    kind, line = services[role]["healthcheck"]["test"]
    program, command, whom = shlex.split(line.replace("$$", "$"))
    assert (kind, program, command) == ("CMD-SHELL", "trimtab", "health")
    assert whom in (role, f"{role}@$HOSTNAME")
    assert whom.partition("@")[0] in ROLES


def test_every_command_of_ours_exists_with_its_options(services: dict[str, Any]) -> None:
    ours = [service["command"] for service in services.values() if service["command"][0] == "trimtab"]
    ours += [shlex.split(services[role]["healthcheck"]["test"][1]) for role in WORKERS]
    assert ours
    for _, name, *arguments in ours:
        command = get_command(cli).commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(arguments))


def test_broker_and_data_server_are_two_servers(services: dict[str, Any]) -> None:
    environment = services["ingest"]["environment"]
    assert environment["REDIS_URL"].startswith("redis://data:")
    assert environment["BROKER_URL"].startswith("redis://broker:")


def test_everything_but_demo_and_gateway_starts_by_default(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if "profiles" in service} == {"demo", "gateway"}


def test_the_gateway_reads_settings_that_exist(services: dict[str, Any]) -> None:
    named = {name for name in services["gateway"]["environment"] if name.startswith("TRIMTAB_GATEWAY__")}
    assert named
    assert named <= {f"TRIMTAB_GATEWAY__{field}".upper() for field in Gateway.model_fields}


def test_the_data_server_keeps_the_promises_the_embedded_one_keeps() -> None:
    lines = (ROOT / "deploy/redis/redis.conf").read_text().splitlines()
    config = dict(shlex.split(line) for line in lines if line and not line.startswith("#"))
    promised = set(_BASE_CONFIG) - {"bind", "protected-mode", "daemonize", "logfile"}
    assert {name: config[name] for name in promised} == {name: _BASE_CONFIG[name] for name in promised}
