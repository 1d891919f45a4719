"""Supervision: who dies comes back, who is asked to end ends, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import wait_until
from trimtab_worker.cli.processes import Child, Supervisor

SLEEPER = "import time; time.sleep(60)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
FAMILY = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {SLEEPER!r}]).pid, flush=True)
time.sleep(60)
"""


class Stage:
    """A supervisor over small Python programs, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.supervisor = Supervisor([], self.said.append)

    def play(self, **programs: str) -> Supervisor:
        children = [
            Child(name, [sys.executable, "-c", program], os.environ, self.directory / f"{name}.log")
            for name, program in programs.items()
        ]
        self.supervisor = Supervisor(children, self.said.append)
        self.supervisor.start()
        return self.supervisor

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.stop(0)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_child_comes_back_with_a_line_that_says_so(stage: Stage) -> None:
    supervisor = stage.play(ingest=SLEEPER)
    first = supervisor.pids["ingest"]
    assert supervisor.watch() is False
    os.kill(first, signal.SIGKILL)
    wait_until(supervisor.watch, what="the restart")
    assert supervisor.pids["ingest"] != first
    assert stage.said == ["ingest was ended by SIGKILL; restarting it."]


def test_a_child_that_fails_at_once_is_restarted_ever_more_slowly_and_quoted(stage: Stage) -> None:
    supervisor = stage.play(beat="raise SystemExit('no clock here')")
    wait_until(lambda: supervisor.watch() and len(stage.said) >= 2, what="two restarts")
    assert stage.said[0] == "beat ended with exit code 1; restarting it. Its last words: no clock here"
    assert supervisor.children[0].delay >= 0.8


def test_who_does_not_end_when_asked_is_killed(stage: Stage) -> None:
    supervisor = stage.play(deaf=STUBBORN, good=SLEEPER)
    wait_until(lambda: "deaf" in stage.log("deaf"), what="the program's start")
    pids = list(supervisor.pids.values())
    supervisor.stop(0.2)
    assert not any(map(running, pids))
    assert supervisor.pids == {}


def test_a_dead_childs_own_children_do_not_outlive_it(stage: Stage) -> None:
    supervisor = stage.play(worker=FAMILY)
    grandchild = int(wait_until(lambda: stage.log("worker").strip(), what="the grandchild"))
    os.kill(supervisor.pids["worker"], signal.SIGKILL)
    wait_until(supervisor.watch, what="the restart")
    wait_until(lambda: not running(grandchild), what="the grandchild's end")
