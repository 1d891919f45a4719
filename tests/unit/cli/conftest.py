"""Commands run in this process here, and configure its logging as they do in their own: put it back afterwards."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from trimtab_worker.cli import run
from trimtab_worker.embedded import EmbeddedServer

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def cli(
    server: EmbeddedServer, broker: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command; gives its exit code, standard output and standard error."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("BROKER_URL", broker.url)

    def call(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return call
