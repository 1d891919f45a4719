"""Experiment definitions from files, standard input or a few flags."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from trimtab.errors import ConfigurationError, InvalidInput
from trimtab_worker.cli import options


def read_text(source: str) -> str:
    """A file's text; `-` is standard input."""
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidInput(f"{source} cannot be read: {reason}.") from error


def read_document(source: str) -> dict[str, Any]:
    """A JSON or TOML document; the file's name decides, and on standard input the first character."""
    text = read_text(source)
    toml = source.endswith(".toml") or not (source.endswith(".json") or text.lstrip()[:1] in ("{", "["))
    document = _toml(text, source) if toml else _json(text, source)
    if not isinstance(document, dict):
        raise ConfigurationError(f"{_name(source)} holds a JSON {type(document).__name__}; a definition is an object.")
    return document


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigurationError(f"{_name(source)} is not JSON: {error.msg} at {place}.") from error


def _toml(text: str, source: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = "TOML" if source.endswith(".toml") else "JSON or TOML"
        raise ConfigurationError(f"{_name(source)} is not {what}: {error}.") from error


def _name(source: str) -> str:
    return "Standard input" if source == "-" else source


def quick_definition(
    experiment_id: str | None, variants: str | None, metrics: list[str], more: Mapping[str, Any]
) -> dict[str, Any]:
    """A definition from flags: `--id x --variants a,b --metric bought:binary`; the first metric is the primary one.

    `more` are further fields; those that are None were not given.
    """
    if not (experiment_id and variants and metrics):
        raise typer.BadParameter("give a FILE (or - for standard input), or --id, --variants and --metric")
    named = [text.partition(":") for text in metrics]
    definition: dict[str, Any] = {
        "id": experiment_id,
        "variants": [{"id": name.strip()} for name in variants.split(",")],
        "metrics": [
            {"name": name, "kind": kind or "binary", "primary": place == 0}
            for place, (name, _, kind) in enumerate(named)
        ],
    }
    return definition | {field: value for field, value in more.items() if value is not None}


def parse_ratio(text: str | None) -> dict[str, float] | None:
    """`a=0.7,b=0.3` as shares."""
    if text is None:
        return None
    option = "--assignment-ratio"
    shares = options.pairs(text.split(","), option, "VARIANT=SHARE,VARIANT=SHARE")
    try:
        return {variant.strip(): float(share) for variant, share in shares.items()}
    except ValueError:
        raise typer.BadParameter(f"{text!r} has a share that is no number", param_hint=option) from None
