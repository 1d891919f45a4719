"""`trimtab report`: what it prints, what it draws, and what it says where it cannot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from trimtab_worker.bootstrap import Services

DEFINITION: dict[str, Any] = {
    "id": "checkout",
    "variants": [{"id": "a"}, {"id": "b"}],
    "metrics": [
        {"name": "converted", "kind": "binary", "primary": True},
        {"name": "crashed", "kind": "binary", "direction": "decrease"},
    ],
    "constraints": {"min_trials": 100, "max_step": 0.2, "min_weight": 0.05, "cooldown_seconds": 0},
}
PNG = b"\x89PNG\r\n"

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def decided(cli: Cli) -> Cli:
    """The same, with an experiment that b wins, and one recompute."""
    start(cli, DEFINITION)
    outcomes(cli, {"a": 40, "b": 160})
    assert cli("recompute", "checkout")[0] == 0
    return cli


def start(cli: Cli, document: dict[str, Any]) -> None:
    assert cli("experiment", "create", "-", "--start", stdin=json.dumps(document))[0] == 0
    drain()


def outcomes(cli: Cli, converted: dict[str, int], n: int = 400) -> None:
    from trimtab.clock import system_clock

    now = system_clock()
    lines = [
        json.dumps(
            {
                "experiment_id": "checkout",
                "variant": variant,
                "unit_id": f"{variant}{k}",
                "epoch": 1,
                "metrics": {"converted": int(k < hits), "crashed": int(k % 50 == 0)},
                "occurred_at": now,
            }
        )
        for variant, hits in converted.items()
        for k in range(n)
    ]
    assert cli("send", "-", stdin="\n".join(lines))[0] == 0
    drain()


def drain() -> None:
    """What an ingest worker would do."""
    services = Services()
    services.ingest(0).drain(holder="test")
    services.close()


def test_the_report_says_one_sentence_then_tables_then_what_they_rest_on(decided: Cli) -> None:
    code, out, err = decided("report", "checkout")
    assert (code, err) == (0, "")
    head, sentence, *_ = out.splitlines()
    assert head.startswith("checkout · running · thompson · one trial is a unit")
    assert sentence == "Ship b: it is better than control with probability above .999."
    assert "converted (higher is better, primary)" in out
    assert "crashed (lower is better)" in out
    lines = [line.strip() for line in out.splitlines()]
    control, treatment = (next(x.split() for x in lines if x.startswith(name)) for name in ("a (control)", "b "))
    second = next(x.split() for x in lines[lines.index(next(x for x in lines if x.startswith("b "))) + 1 :])
    assert control[2:4] == ["400", "0.1"]
    assert treatment[1:4] == ["400", "0.4", "+0.3"]
    assert treatment[-1] == "ship"
    assert (second[:2], second[-1]) == (["+300", "%"], "<.001"), "relative effect, always-valid interval, p"
    assert "Traffic splits as it was served." in out
    assert "With probability 95% no variant beats b in converted by more than 0 %" in out
    assert "\n· Means are as if all variants had met the same epochs." in out


def test_tables_fit_a_hundred_columns(decided: Cli) -> None:
    """A terminal's; sentences are wrapped by it."""
    out = decided("report", "checkout")[1]
    table = [line.rstrip() for line in out.splitlines() if line.startswith(" ")]
    assert len(table) > 8
    assert max(map(len, table)) <= 100


def test_the_json_is_the_whole_report_and_no_number_in_it_is_none_that_json_knows(decided: Cli) -> None:
    code, out, _ = decided("report", "checkout", "--json")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert code == 0
    assert document["sentence"].startswith("Ship b")
    primary, guardrail = document["metrics"]
    assert (primary["name"], primary["primary"], guardrail["direction"]) == ("converted", True, "decrease")
    (treatment,) = primary["treatments"]
    assert treatment["effect"]["effect_size"] == pytest.approx(.3)
    assert treatment["recommendation"]["advice"] == "ship"
    assert treatment["recommendation"]["claim"]["n_looks"] == 1
    assert decided("report", "checkout", "--json")[1] == out, "reading is no look"


def test_a_margin_is_one_of_the_primary_metric(decided: Cli) -> None:
    out = decided("report", "checkout", "--json", "--absolute-margin", "0.5")[1]
    primary, guardrail = json.loads(out)["metrics"]
    recommendation = primary["treatments"][0]["recommendation"]
    assert (recommendation["assessment"]["margin"], recommendation["advice"]) == (.5, "stop")
    assert guardrail["treatments"][0]["recommendation"]["assessment"]["margin"] == pytest.approx(.02 * .02)


def test_an_ab_test_gives_its_recommendation(cli: Cli) -> None:
    start(cli, DEFINITION | {"strategy": "fixed"})
    outcomes(cli, {"a": 160, "b": 40})
    _, out, _ = cli("report", "checkout")
    assert out.splitlines()[1] == "Keep control a: converted is 75 % (p < .001) worse with b."
    assert "· No recompute has recorded a look yet" in out


def test_the_picture_is_drawn_in_the_format_its_name_asks_for(decided: Cli, tmp_path: Path) -> None:
    decided("hold", "checkout", "--reason", "a look")
    for name in ("r.png", "r.svg", "r.html"):
        code, out, err = decided("report", "checkout", "--plot", str(tmp_path / name))
        assert (code, err) == (0, "")
        assert out.endswith(f"Drawn into {tmp_path / name}.\n")
    assert (tmp_path / "r.png").read_bytes().startswith(PNG)
    assert "<svg" in (tmp_path / "r.svg").read_text(encoding="utf-8")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Ship b: it is better than control" in page
    assert elsewhere(page) == [], "one page that needs no network"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "image", "img"):
            self.found.append(tag)
        targets = [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.found += [target for target in targets if not target.startswith("#")]


def elsewhere(page: str) -> list[str]:
    """What a page would fetch."""
    links = _Links()
    links.feed(page)
    return links.found


def test_json_and_a_picture_can_be_had_at_once(decided: Cli, tmp_path: Path) -> None:
    out = decided("report", "checkout", "--json", "--plot", str(tmp_path / "r.png"))[1]
    assert json.loads(out)["experiment_id"] == "checkout"
    assert (tmp_path / "r.png").exists()


def test_before_any_outcome_there_is_a_report_and_a_picture(cli: Cli, tmp_path: Path) -> None:
    start(cli, DEFINITION)
    code, out, _ = cli("report", "checkout", "--plot", str(tmp_path / "r.png"))
    assert code == 0
    assert out.splitlines()[1] == "Continue: there is not enough evidence on b yet to say anything."
    assert "No unit has named its epoch: the split is unknown." in out


def test_without_matplotlib_the_sentence_names_the_extra(
    decided: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert decided("report", "checkout", "--plot", str(tmp_path / "r.png")) == (
        1,
        "",
        "matplotlib is not installed; it comes with an extra: pip install 'trimtab[plot]'.\n",
    )
    assert decided("report", "checkout")[0] == 0, "tables need no extra"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("report", "nowhere"), 1, "There is no experiment 'nowhere'"),
        (("report", "checkout", "--plot", "/nowhere/r.png"), 1, "/nowhere/r.png cannot be written: No such file"),
        (("report", "checkout", "--plot", "/nowhere/r.html"), 1, "/nowhere/r.html cannot be written: No such file"),
        (("report", "checkout", "--plot", "r.xyz"), 1, "Format 'xyz' is not supported"),
        (("report", "checkout", "--absolute-margin", "-1"), 1, "min_practical_effect: Input should be greater than"),
        (("report", "checkout", "--absolute-margin", "nan"), 1, "min_practical_effect: Input should be a finite"),
        (("report",), 2, "Missing argument 'EXPERIMENT'"),
    ],
)
def test_every_error_is_one_sentence_on_stderr(decided: Cli, arguments: tuple[str, ...], code: int, words: str) -> None:
    found, out, err = decided(*arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert words in err


def test_a_draft_has_nothing_to_report_and_the_sentence_says_what_to_do(cli: Cli) -> None:
    cli("experiment", "create", "-", stdin=json.dumps(DEFINITION))
    code, out, err = cli("report", "checkout")
    assert (code, out) == (1, "")
    assert "trimtab experiment start checkout" in err
