"""The examples of deploy/examples run as they say, and honour every flag."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
Window = Callable[..., Any]


def _main(name: str, *arguments: str) -> int:
    """The script's own `main`, in this process: a fresh interpreter takes a second to import numpy."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    code: int = module.main(arguments)
    return code


@pytest.fixture
def window(capsys: pytest.CaptureFixture[str]) -> Window:
    """Runs end_to_end and returns what it prints."""

    def call(*arguments: str) -> Any:
        assert _main("end_to_end", *arguments) == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_examples_run_as_scripts() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "end_to_end.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["weights"]


def test_end_to_end_moves_the_weights_of_one_window(window: Window) -> None:
    found = window()
    assert sum(seen["trials"] for seen in found["observations"].values()) == 4000
    assert found["weights"] == {"a": pytest.approx(.4), "b": pytest.approx(.6)}  # the default step
    assert found["explanation"]["guardrails"]["guardrails_applied"] == ["max_step_clamp"]


@pytest.mark.parametrize(
    ("flags", "weight_of_a"),
    [
        (("--max-step", ".03"), .47),
        (("--preset", "explore_defaults"), .3),
        (("--max-step", "1", "--min-weight", ".2"), .2),
        (("--min-trials", "5000"), .5),
        (("--previous", "a=.3,b=.7"), .2),
        (("--seconds-since-change", "1700"), .5),
        (("--seconds-since-change", "1700", "--cooldown-seconds", "1600"), .4),
        (("--units", "400"), .5),
        (("--rates", "a=.08,b=.05"), .6),
        (("--strategy", "fixed"), .5),
    ],
)
def test_end_to_end_honours_its_flag(flags: tuple[str, ...], weight_of_a: float, window: Window) -> None:
    assert window(*flags)["weights"]["a"] == pytest.approx(weight_of_a)


def test_end_to_end_draws_another_window_from_another_seed(window: Window) -> None:
    zero, again, one = (window("--seed", seed)["observations"] for seed in ("0", "0", "1"))
    assert zero == again != one


def test_multi_window_writes_a_table_explanations_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main("multi_window", "--windows", "8", "--units", "1500", "--out", str(tmp_path / "out")) == 0
    table, lines, picture = map(Path, capsys.readouterr().out.split())
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert len(rows) == 8 * 3
    for here, following in zip(rows, rows[3:], strict=False):
        assert here["next"] == following["weight"]
    for window in range(8):
        mine = [row for row in rows if row["window"] == str(window)]
        assert sum(int(row["units"]) for row in mine) == 1500
        assert sum(float(row["weight"]) for row in mine) == pytest.approx(1)
    told = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [each["window"] for each in told] == list(range(8))
    assert told[0]["reasons"][0]["code"] == "min_trials"
    assert told[-1]["parts"] == {row["variant"]: round(float(row["next"]) * 1e6) for row in rows[-3:]}
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("end_to_end", ("--strategy", "guess"), "guess"),
        ("end_to_end", ("--min-weight", ".7"), "min_weight"),
        ("end_to_end", ("--preset", "brave"), "unknown preset 'brave'"),
        ("multi_window", ("--world", "tides"), "There is no world 'tides'"),
    ],
)
def test_wrong_values_are_one_sentence(
    script: str, flags: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(script, *flags) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert words in printed.err
