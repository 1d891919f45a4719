"""`trimtab up`: one command brings everything, keeps it alive, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from e2e.conftest import CLI, RunningSystem, stop
from e2e.processes import alive
from servers import wait_until
from trimtab_worker.embedded import EmbeddedServer


def test_up_says_what_to_do_next_and_everything_is_healthy(system: RunningSystem) -> None:
    said = system.said()
    for word in ("data server  redis://127.0.0.1:", "broker       redis://127.0.0.1:", "Next", "Ctrl-C"):
        assert word in said
    for role in ("ingest", "decide", "beat"):
        system.cli("health", role)
    assert all(finding["ok"] for finding in system.json("doctor"))


def test_a_second_up_in_the_same_directory_is_refused_in_one_sentence(system: RunningSystem) -> None:
    done = subprocess.run(
        [*CLI, "up", "--data-dir", str(system.directory)],
        capture_output=True, text=True, timeout=60, env=system.environment, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("A server already runs in ")
    system.cli("experiment", "list")


def test_every_process_that_is_killed_comes_back_and_no_count_is_lost(system: RunningSystem) -> None:
    """Also the data server: it has written down all it confirmed."""
    flags = ("--id", "alive", "--variants", "a,b", "--metric", "won")
    system.cli("experiment", "create", *flags, "--start")
    event = {"experiment_id": "alive", "variant": "a", "metrics": {"won": 1}, "occurred_at": _now()}
    for round_, name in enumerate(("beat", "ingest", "broker", "data", "decide")):
        line = json.dumps({**event, "unit_id": f"u{round_}"})
        wait_until(lambda line=line: _sent(system, line), 30, what="an event sent")
        before = system.pids[name]
        os.kill(before, signal.SIGKILL)
        wait_until(lambda name=name, before=before: system.pids[name] != before, 30, what=f"{name} back")
    wait_until(lambda: system.json("stats", "alive")["folded"] == 5, 60, what="five events folded")


def test_ctrl_c_ends_everything(system: RunningSystem) -> None:
    pids = system.pids
    assert set(pids) == {"up", "data", "broker", "ingest", "decide", "beat"}
    system.process.send_signal(signal.SIGINT)
    assert system.process.wait(40) == 0
    assert [name for name, pid in pids.items() if alive(pid)] == []
    assert "Everything has ended" in system.said()
    assert "No data server is known" in _error(system, "experiment", "list")


def test_a_killed_up_takes_everything_with_it(system: RunningSystem) -> None:
    """Nobody is left to stop the others, so they end by themselves (Linux)."""
    pids = system.pids
    system.process.kill()
    system.process.wait()
    wait_until(lambda: not any(map(alive, pids.values())), 40, what="the end of every process")


def test_with_redis_url_the_workers_run_against_that_server(
    own_server: EmbeddedServer, tmp_path: Path, system_environment: dict[str, str]
) -> None:
    directory, output = tmp_path / "trimtab", tmp_path / "up.log"
    environment = {**system_environment, "REDIS_URL": own_server.url}
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*CLI, "up", "--data-dir", str(directory)],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=environment,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or "Trimtab is up" in output.read_text(), 60, what="`up`")
        assert process.poll() is None, output.read_text()
        running = RunningSystem(directory, process, output, environment)
        assert set(running.pids) == {"up", "broker", "ingest", "decide", "beat"}
        assert own_server.url in output.read_text()
        running.cli("health", "ingest")
    finally:
        stop(process)


def _now() -> int:
    from trimtab.clock import system_clock

    return system_clock()


def _sent(system: RunningSystem, line: str) -> bool:
    """Send one event; False while the server is down. Sent twice it counts once: the experiment counts units."""
    done = subprocess.run(
        [*CLI, "send", "-", "--data-dir", str(system.directory)],
        input=line, capture_output=True, text=True, timeout=60, env=system.environment, check=False,
    )  # fmt: skip
    return done.returncode == 0


def _error(system: RunningSystem, *arguments: str) -> str:
    done = subprocess.run(
        [*CLI, *arguments, "--data-dir", str(system.directory)],
        capture_output=True, text=True, timeout=60, env=system.environment, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    return done.stderr
