"""The command line where nothing answers, and what it costs to ask it for help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab_worker.cli import run

HEAVY = ("celery", "numpy", "pandas", "scipy", "pyarrow", "structlog", "rich")
READS = (
    ("experiment", "list"),
    ("weights", "x"),
    ("stats", "x"),
    ("explain", "x"),
    ("stream-key", "x"),
    ("send", "-"),
    ("health", "ingest"),
    ("experiment", "start", "x"),
    ("rebuild", "0"),
)


@pytest.mark.parametrize("arguments", READS, ids=" ".join)
def test_without_an_address_the_sentence_says_how_to_start_one(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_DATA_DIR", "")  # set, so that what the option leaves behind is undone after the test
    assert run([*arguments, "--data-dir", str(tmp_path)]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "No data server is known: start one with `trimtab up`, or set REDIS_URL to the address of yours.\n"
    )


@pytest.mark.parametrize("arguments", READS[:-1], ids=" ".join)
def test_a_server_that_does_not_answer_is_one_sentence_and_exit_code_3(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://somebody:secret@127.0.0.1:1/0")
    event = '{"experiment_id": "x", "variant": "a", "metrics": {"m": 1}, "occurred_at": 1}'
    monkeypatch.setattr("sys.stdin", iter([event]))
    assert run(arguments) == 3
    printed = capsys.readouterr()
    assert printed.err == "The data server at 127.0.0.1:1/0 cannot be reached: start it, or correct REDIS_URL.\n"


def test_an_address_that_is_none_is_refused_without_repeating_a_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "http://somebody:secret@host")
    assert run(["experiment", "list"]) == 1
    printed = capsys.readouterr()
    assert "is not the address of a Redis server" in printed.err
    assert "secret" not in printed.err


def test_asking_for_help_imports_nothing_heavy() -> None:
    """Law: what is slow to import is imported by the command that needs it."""
    program = (
        "import sys\nfrom trimtab_worker.cli import run\n"
        "assert run(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_help_whose_first_line_fits_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    commands = capsys.readouterr().out.partition("Commands:")[2].strip().splitlines()
    assert [line for line in commands if "..." in line] == []
