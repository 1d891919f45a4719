"""The live demo, short: it must end well without a terminal, too."""

from __future__ import annotations

import re
import subprocess

from e2e.conftest import CLI, RunningSystem, clean_environment


def test_a_ten_second_demo_loses_nothing_and_counts_nothing_twice() -> None:
    done = subprocess.run(
        [*CLI, "demo", "--seconds", "10", "--rate", "2000"],
        capture_output=True, text=True, timeout=110, env=clean_environment(), check=False,
    )  # fmt: skip
    check(done, at_least=10_000)


def test_a_demo_attaches_to_a_running_system(system: RunningSystem) -> None:
    done = subprocess.run(
        [*CLI, "demo", "--attach", "--seconds", "6", "--rate", "1000", "--data-dir", str(system.directory)],
        capture_output=True, text=True, timeout=110, env=system.environment, check=False,
    )  # fmt: skip
    check(done, at_least=2_000)
    (experiment,) = system.json("experiment", "list")
    assert experiment["status"] == "stopped"


def check(done: subprocess.CompletedProcess[str], at_least: int) -> None:
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = re.search(r"events sent ([\d,]+) = folded ([\d,]+) \(lost 0, double 0\)", done.stdout)
    assert found, done.stdout
    assert found[1] == found[2]
    assert int(found[1].replace(",", "")) >= at_least
    moved = re.search(r"allocations published [\d,]+, of which ([\d,]+) moved weights", done.stdout)
    assert moved, done.stdout
    assert int(moved[1]) >= 1
    assert re.search(r"share served to the best variant \(blue\): \d", done.stdout)
