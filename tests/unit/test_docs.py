"""The README names what exists, all of it and nothing else; decisions have one form.

Its examples are run by `tests/integration/test_readme.py`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from celery import Celery
from typer.main import get_command

from benchmarks import bars
from trimtab import addresses, errors
from trimtab.addresses import Addresses
from trimtab.errors import ErrorCode
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.thresholds import DecisionThresholds
from trimtab.settings import GROUPS, Settings
from trimtab_worker import cli
from trimtab_worker.cli.app import app as cli_app
from trimtab_worker.gateway.routes import ENDPOINTS
from trimtab_worker.tasks import MODULES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "deploy" / "decisions").glob("*.md"))


def test_every_command_stands_in_the_readme_in_the_words_of_its_own_help() -> None:
    assert dict(rows("command", "what it does")) == {f"`trimtab {name}`": text for name, text in commands()}


def test_every_setting_stands_in_the_readme_with_its_default_and_its_reason() -> None:
    documented = {name: (default, reason) for name, default, reason in rows("environment", "default", "what, and why")}
    assert documented == {name: (default, reason) for name, default, reason in settings()}
    assert all(reason for _, _, reason in settings())


def test_every_address_of_the_gateway_stands_in_the_readme_with_its_role() -> None:
    documented = [tuple(row) for row in rows("address", "role", "what")]
    assert documented == [(f"`{each.method} {each.path}`", str(each.role), each.summary) for each in ENDPOINTS]


@pytest.mark.parametrize("prefix", ["", "TRIMTAB_"])
def test_clients_read_the_same_address_names_as_settings(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{prefix}REDIS_URL", "redis://data:1/0")
    monkeypatch.setenv(f"{prefix}BROKER_URL", "redis://broker:1/0")
    assert addresses.resolve() == Addresses("redis://data:1/0", "redis://broker:1/0")


def test_our_own_name_wins_for_clients_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an application would publish to one server while the workers fold another."""
    monkeypatch.setenv("REDIS_URL", "redis://theirs:1/0")
    monkeypatch.setenv("TRIMTAB_REDIS_URL", "redis://ours:1/0")
    assert addresses.resolve().redis_url == "redis://ours:1/0"


def test_every_error_code_stands_in_the_readme_beside_its_class() -> None:
    documented = {code: name for code, name, _ in rows("code", "class in `trimtab.errors`", "what to do")}
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if "code" in vars(kind)]
    assert documented == {f"`{kind.code}`": f"`{kind.__name__}`" for kind in classes}
    assert {kind.code for kind in classes} == set(ErrorCode)


def test_every_exit_code_stands_in_the_readme() -> None:
    sentence = section("Commands").partition("Exit codes:")[2].partition(".")[0]
    known = {cli.OK, cli.FAILED, cli.USAGE, cli.UNAVAILABLE, cli.INTERRUPTED}
    assert {int(code) for code in re.findall(r"`(\d+)`", sentence)} == known


def test_every_dead_letter_code_stands_in_the_readme_once() -> None:
    header = "the event, batch or entry …"
    cells = [row for left in rows("code", header, "code", header) for row in (left[:2], left[2:])]
    codes = [code.strip("`") for code, meaning in cells if meaning]
    assert sorted(codes) == sorted(code.value for code in DeadLetterCode)


def test_every_decision_threshold_stands_in_the_readme_with_its_default() -> None:
    header = "what, where u is control's mean (the standard deviation of a continuous metric)"
    documented = {name: json.loads(default) for name, default, _ in rows("field of `thresholds`", "default", header)}
    assert documented == {f"`{name}`": value for name, value in DecisionThresholds().model_dump().items()}


def test_every_celery_task_stands_in_the_readme() -> None:
    for module in MODULES:
        importlib.import_module(module)
    registered = {name for name in Celery(set_as_current=False).tasks if name.startswith("trimtab.")}
    sentences = section("Operating").partition("Tasks for operators:")[2]
    assert set(re.findall(r"`(trimtab\.[a-z]+)`", sentences)) == registered


def test_every_bar_stands_in_the_readme_beside_a_figure() -> None:
    measured = rows("measured by `make bench`, one run on two shared cores", "figure", "bar")
    documented = {name.split("`")[1]: bar for name, _, bar in measured}
    assert documented == {name: bars.judge(name, 0)[1] for name in (*bars.AT_LEAST, *bars.AT_MOST)}
    assert all(re.fullmatch(r"[\d,.]+", figure) for _, figure, _ in measured)


def test_the_bucket_vector_of_the_readme_is_a_published_one() -> None:
    found = re.search(r"With salt `(\w+)`, unit `([\w-]+)` is in bucket (\d+)", README)
    assert found
    published = json.loads((ROOT / "deploy" / "bucket_vectors.json").read_text(encoding="utf-8"))["vectors"]
    assert (found[1], found[2], int(found[3])) in {(v["salt"], v["unit_id"], v["bucket"]) for v in published}


def test_every_path_the_readme_names_exists() -> None:
    named = set(re.findall(r"`((?:deploy|shared|tests|worker)/[\w/.-]+|docker-compose\.yml)`", README))
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_readme_names_no_other_home() -> None:
    """A clone may stand anywhere: paths are relative to it, and addresses are those of the reader's own machine."""
    assert re.findall(r"(?<![\w.}/])/(?:home|root|work|usr|tmp|opt)\b\S*|\.\./\S+", README) == []
    assert [url for url in re.findall(r"\w+://[^\s`)]+", README) if "127.0.0.1" not in url] == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_is_half_a_page_with_context_decision_consequences_and_what_was_rejected(path: Path) -> None:
    number, _, slug = path.stem.partition("-")
    text = path.read_text(encoding="utf-8")
    title, *lines = text.splitlines()
    assert title.startswith(f"# {int(number)}. ")
    words = re.sub(r"[^a-z0-9]+", "-", title.partition(". ")[2].lower()).strip("-")
    assert words == slug
    assert [line for line in lines if line.startswith("#")] == [
        "## Context",
        "## Decision",
        "## Consequences",
        "## Rejected",
    ]
    assert re.search(r"^- ", text.partition("## Rejected")[2], re.MULTILINE)
    assert len(lines) <= 60
    assert [name for name in re.findall(r"`((?:shared|worker|tests|deploy)/[\w/.-]+)`", text) if not exists(name)] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name.partition("-")[0]) for path in DECISIONS]
    assert numbers[0] == 1
    assert all(later == earlier + 1 for earlier, later in pairwise(numbers))


def exists(name: str) -> bool:
    return os.path.exists(ROOT / name)


def commands() -> Iterator[tuple[str, str]]:
    """Every command with the line that `--help` gives it; a group counts by its members."""
    for name, command in get_command(cli_app).commands.items():  # type: ignore[attr-defined]
        members = getattr(command, "commands", None)
        if members is None:
            yield name, command.get_short_help_str(200)
        else:
            yield from ((f"{name} {inner}", member.get_short_help_str(200)) for inner, member in members.items())


def settings() -> Iterator[tuple[str, str, str | None]]:
    """Every setting as the table writes it: names, default, description."""
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            continue
        names = getattr(field.validation_alias, "choices", [f"TRIMTAB_{name.upper()}"])
        default = "–" if field.default is None else f"`{field.default}`"
        yield " or ".join(f"`{known}`" for known in names), default, field.description
    for group, model in GROUPS.items():
        for name, field in model.model_fields.items():
            default = "–" if field.default is None else f"`{field.default}`"
            yield f"`TRIMTAB_{group}__{name}`".upper(), default, field.description


def section(title: str) -> str:
    """What stands below a heading of the second level."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(*header: str) -> list[list[str]]:
    """The cells of the one table with this header, row by row."""
    _, *tables = README.split(f"| {' | '.join(header)} |\n")
    assert len(tables) == 1, f"{header}: {len(tables)} tables"
    lines = tables[0].splitlines()[1:]
    body = lines[: next(place for place, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]
