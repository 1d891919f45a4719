"""`trimtab export`: the document on standard output, its cost on standard error, files replaced and never spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.exporters import EXPORTERS
from trimtab.schema.allocation import Allocation
from trimtab_worker.bootstrap import Services
from trimtab_worker.cli import run
from trimtab_worker.embedded import EmbeddedServer

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    server: EmbeddedServer, broker: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command where `checkout` and `search` are running; gives exit code, standard output and error."""
    monkeypatch.setenv("REDIS_URL", server.url)
    monkeypatch.setenv("BROKER_URL", broker.url)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    for name in ("checkout", "search"):
        made = ("--id", name, "--variants", "control,b,c", "--metric", "converted:binary", "--start")
        assert call("experiment", "create", *made)[0] == 0
    return call


def allocation() -> Allocation:
    services = Services()
    found = services.control(by="test").show("checkout").allocation
    services.close()
    assert found is not None
    return found


@pytest.mark.parametrize("form", EXPORTERS)
def test_the_document_is_on_standard_output_and_its_cost_beside_it(cli: Cli, form: str) -> None:
    code, out, err = cli("export", "checkout", "--format", form)
    assert code == 0
    assert json.loads(out) == EXPORTERS[form].render([allocation()])
    assert f"checkout: 3 ranges over {EXPORTERS[form].resolution:,} buckets" in err
    assert "change variant" not in err


def test_several_experiments_are_one_document(cli: Cli) -> None:
    assert [*json.loads(cli("export", "search", "checkout", "--format", "flagd")[1])["flags"]] == ["checkout", "search"]


def test_a_file_is_replaced_and_what_it_held_is_the_document_before(cli: Cli, tmp_path: Path) -> None:
    """On whole percents b had 34 of a hundred buckets: those move, and no other."""
    file = tmp_path / "split.json"
    assert cli("export", "checkout", "--format", "split", "--out", str(file))[:2] == (0, "")
    assert cli("halt", "checkout", "--variant", "b", "--reason", "errors")[0] == 0
    code, out, err = cli("export", "checkout", "--format", "split", "--out", str(file))
    assert (code, out) == (0, "")
    assert "34.00% of units change variant; their weights ask for 34.00%" in err
    partitions = json.loads(file.read_text())["ff"]["d"][0]["conditions"][0]["partitions"]
    assert {part["treatment"] for part in partitions} == {"control", "c"}
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_json_gives_document_and_figures_as_one_object(cli: Cli, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(cli("export", "checkout", "--format", "configcat")[1], encoding="utf-8")
    assert cli("halt", "checkout", "--variant", "b", "--reason", "errors")[0] == 0
    report = json.loads(cli("export", "checkout", "-f", "configcat", "--previous", str(before), "--json")[1])
    figures = report["experiments"]["checkout"]
    assert figures["shares"] == {"control": 0.5, "b": 0.0, "c": 0.5}
    assert figures["movement"]["share"] == 0.34
    assert figures["movement"]["extra"] == report["extra_movement"] == 0
    assert report["document"]["f"]["checkout"]["p"]


def test_a_file_with_other_flags_is_left_as_it_is(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    assert cli("export", "checkout", "search", "--format", "flagd", "--out", str(file))[0] == 0
    before = file.read_bytes()
    code, _, err = cli("export", "checkout", "--format", "flagd", "--out", str(file))
    assert (code, file.read_bytes()) == (1, before)
    assert "search" in err


@pytest.mark.parametrize("text", ["", "[]", '{"flags": {"mine": {"state": "ENABLED", "targeting": {}}}}'])
def test_a_file_of_somebody_else_is_left_as_it_is(cli: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "flags.json"
    file.write_text(text)
    assert cli("export", "checkout", "--format", "flagd", "--out", str(file))[0] == 1
    assert file.read_text() == text


def test_a_name_that_the_target_answers_with_by_itself_is_noted(cli: Cli) -> None:
    assert "split answers control also where it has no answer" in cli("export", "checkout", "--format", "split")[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("checkout", "--format", "statsig"), "There is no format 'statsig'"),
        (("nothing", "--format", "flagd"), "nothing"),
        (("checkout", "--format", "flagd", "--out", "/nowhere/flags.json"), "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    code, out, err = cli("export", *arguments)
    assert (code, out) == (1, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_an_experiment_without_weights_is_refused(cli: Cli) -> None:
    made = ("--id", "new", "--variants", "a,b", "--metric", "converted:binary")
    assert cli("experiment", "create", *made)[0] == 0
    code, _, err = cli("export", "new", "--format", "flagd")
    assert code == 1
    assert "trimtab experiment start new" in err
