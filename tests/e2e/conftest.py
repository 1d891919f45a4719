"""A whole system of real processes, started by the real command and ended by its process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from servers import wait_until

UP_SECONDS = 60.0  # two cold cores start five processes
STOP_SECONDS = 40.0
CLI = [sys.executable, "-c", "from trimtab_worker.cli import main; main()"]


@dataclass
class RunningSystem:
    """`trimtab up` in a data directory of its own."""

    directory: Path
    process: subprocess.Popen[bytes]
    output: Path
    environment: dict[str, str] = field(default_factory=dict)

    def cli(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run one command, expect its exit code, and return what it printed."""
        done = subprocess.run(
            [*CLI, *arguments, "--data-dir", str(self.directory)],
            input=stdin, capture_output=True, text=True, timeout=60, env=self.environment, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.cli(*arguments, "--json"))

    @property
    def redis_url(self) -> str:
        return str(json.loads((self.directory / "addresses.json").read_text())["redis_url"])

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: up, data, broker, ingest, decide, beat."""
        return dict(json.loads((self.directory / "processes.json").read_text()))

    def said(self) -> str:
        return self.output.read_text()


def clean_environment() -> dict[str, str]:
    """The environment without anything that leads to somebody else's servers."""
    ours = ("TRIMTAB_", "REDIS_URL", "BROKER_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.fixture
def system_environment() -> dict[str, str]:
    """A worker that is asked to end waits for its parked drain: 1 s here instead of 10."""
    return {**clean_environment(), "TRIMTAB_DRAIN_PARK_SECONDS": "1"}


@pytest.fixture
def system(tmp_path: Path, system_environment: dict[str, str]) -> Iterator[RunningSystem]:
    """Data server, broker, two workers and beat, on free ports."""
    directory, output, environment = tmp_path / "trimtab", tmp_path / "up.log", system_environment
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*CLI, "up", "--data-dir", str(directory)],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=environment,
        )  # fmt: skip
    running = RunningSystem(directory, process, output, environment)
    try:
        wait_until(
            lambda: process.poll() is not None or "Trimtab is up" in running.said(), UP_SECONDS, what="`trimtab up`"
        )
        assert process.poll() is None, running.said()
        yield running
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it if it does not."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children end with it: each asked for that when it was started
        process.wait()
