"""Options that many commands share, each with one meaning and one help text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer


def _use_data_dir(directory: Path | None) -> Path | None:
    """Make the choice known to everything below, which all reads the environment."""
    if directory is not None:
        os.environ["TRIMTAB_DATA_DIR"] = str(directory)
    return directory


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="TRIMTAB_DATA_DIR",
        callback=_use_data_dir,
        is_eager=True,
        file_okay=False,
        help="Data directory of the `trimtab up` to talk to, unless REDIS_URL is set; default ~/.trimtab.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ExperimentId = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Id of the experiment.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")]
By = Annotated[str | None, typer.Option("--by", help="Who orders it; default: the user running this.")]


def pairs(texts: list[str], option: str, form: str) -> dict[str, str]:
    """`NAME=VALUE` options as a dictionary."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{text!r} is not of the form {form}", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = value
    return found


def json_value(text: str) -> Any:
    """A value from the command line: JSON where it is JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
