"""`trimtab simulate`: needs no server, answers with figures, a document or a picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab_worker.cli import run

SMALL = ("--units", "2000", "--batch", "500", "--runs", "2", "--jobs", "1", "--min-trials", "100")


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `simulate --json` and returns what it prints."""

    def call(*arguments: str) -> Any:
        assert run(["simulate", *SMALL, *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_every_strategy_meets_every_preset_and_the_baselines_come_last(document: Any) -> None:
    found = document(
        *("--strategy", "thompson", "--strategy", "fixed", "--preset", "safe_defaults", "--preset", "explore_defaults"),
        *("--against", "uniform"),
    )
    assert [policy["policy"] for policy in found["policies"]] == [
        "thompson, safe_defaults",
        "thompson, explore_defaults",
        "fixed, safe_defaults",
        "fixed, explore_defaults",
        "uniform",
    ]
    assert found["policies"][2]["share_of_uniform"] == pytest.approx(1, rel=1e-5)
    assert all(len(policy["regret_by_step"]) == 4 for policy in found["policies"])


def test_options_reach_the_world_and_the_constraints(document: Any) -> None:
    found = document("--world", "drift", "--rates", ".1,.3", "--set", "to=2", "--max-step", ".07", "--min-weight", ".1")
    assert found["world"]["variants"]["b"] == pytest.approx([.3, .4, .5, .6])
    path = found["policies"][0]["weights_by_step"]["b"]
    assert path[:3] == pytest.approx([.5, .57, .64])


def test_a_cooldown_is_measured_in_batches_of_the_length_given(document: Any) -> None:
    slow = ("--rates", ".1,.5", "--max-step", ".05", "--cooldown-seconds", "120")
    hourly, minutely = (document(*slow, "--batch-seconds", seconds) for seconds in ("3600", "60"))
    assert hourly["policies"][0]["final_weight"] == pytest.approx(.7)
    assert minutely["policies"][0]["final_weight"] == pytest.approx(.6)


def test_the_same_seed_gives_the_same_document(document: Any) -> None:
    assert document("--seed", "0") == document() != document("--seed", "1")


def test_the_table_names_the_best_and_the_picture_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "regret.png"
    assert run(["simulate", *SMALL, "--variants", "4", "--plot", str(file)]) == 0
    printed = capsys.readouterr()
    assert "stationary · 4 variants · 2,000 units in batches of 500 · 2 runs" in printed.out
    assert "are those of d, the best at the end" in printed.out
    assert f"Drawn into {file}." in printed.out
    assert printed.err == "thompson: 2 runs of 4 decisions …\n"
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--world", "tides"), 1, "There is no world 'tides'; choose one of delayed"),
        (("--world", "drift", "--set", "slope=2"), 1, "no detail 'slope'; it has: to"),
        (("--set", "to=fast"), 2, "to is 'fast': give a number"),
        (("--rates", ".1,high"), 2, "is no list of numbers"),
        (("--rates", ".1,.2", "--variants", "3"), 2, "2 rates are given for 3 variants"),
        (("--preset", "brave"), 1, "unknown preset 'brave'"),
        (("--min-weight", ".6"), 1, "the floors of 3 variants add up to 1.8"),
        (("--strategy", "guess"), 1, "strategy"),
        (("--against", "oracle"), 1, "no baseline 'oracle'; choose one of additive_floor, pooled, uniform"),
        (("--batch", "3000"), 2, "a batch of 3,000 units is more than the 2,000 of the whole run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_simulated_is_one_sentence(
    arguments: tuple[str, ...], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", *SMALL, *arguments]) == code
    printed = capsys.readouterr()
    assert words in printed.err.splitlines()[-1]
    assert printed.out == ""


def test_without_matplotlib_nothing_is_simulated_for_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["simulate", *SMALL, "--plot", str(tmp_path / "p.png")]) == 1
    assert capsys.readouterr().err == (
        "matplotlib is not installed; it comes with an extra: pip install 'trimtab[plot]'.\n"
    )
