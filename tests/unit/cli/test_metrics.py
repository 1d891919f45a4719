"""`trimtab metrics`: once, and over HTTP until it is told to end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable

import pytest

from servers import plain_client, wait_until
from trimtab_worker.embedded import EmbeddedServer

Cli = Callable[..., tuple[int, str, str]]


def test_metrics_are_printed(cli: Cli) -> None:
    code, out, err = cli("metrics")
    assert (code, err) == (0, "")
    assert "# TYPE trimtab_up gauge\ntrimtab_up 1.0\n" in out


def test_without_a_server_that_is_what_they_say(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setenv("REDIS_URL", own_server.url)
    own_server.kill()
    code, out, _ = cli("metrics")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith("#")] == ["trimtab_up 0.0"]


def test_metrics_are_served_as_they_are_at_each_question(own_server: EmbeddedServer) -> None:
    environment = {**os.environ, "REDIS_URL": own_server.url}
    command = [sys.executable, "-c", "from trimtab_worker.cli import main; main()", "metrics", "--serve", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+/metrics", process.stderr.readline())
            assert found

            def page() -> str:
                with urllib.request.urlopen(found[0], timeout=30) as answer:
                    return str(answer.read().decode())

            assert "trimtab_up 1.0" in page()
            with plain_client(own_server.url) as client:
                client.hset("trimtab:log", "partitions", 1)
                client.xadd("trimtab:{p0}:events", {"event": "{}"})
            assert 'trimtab_lag_entries{partition="0"} 1.0' in page()
            own_server.kill()
            wait_until(lambda: "trimtab_up 0.0" in page(), 30, what="a server that is away")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
