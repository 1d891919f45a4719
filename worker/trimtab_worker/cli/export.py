"""Out of the system: allocations as the documents that flag systems read."""

from __future__ import annotations

import json as json_
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.errors import InvalidInput
from trimtab.schema.base import PARTS
from trimtab_worker.cli import options, render, session
from trimtab_worker.cli.weights import published_allocation

if TYPE_CHECKING:
    from trimtab.exporters import Export, Placement

_NAMES = "flagd, growthbook, unleash, launchdarkly, configcat, flagsmith or split"


def export(
    experiments: Annotated[list[str], typer.Argument(metavar="EXPERIMENT…", help="Ids: one document holds them all.")],
    format: Annotated[str, typer.Option("--format", "-f", help=f"{_NAMES}.")],
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to replace in one step; default: standard output.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Document served before; default: that of --out.")
    ] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Export weights as a flag system's document.

    The document goes to standard output, what its resolution costs to standard error; with --json both are one object.
    Given the document served before, it moves as few units as the target can.
    """
    from trimtab.exporters import export as render_document
    from trimtab.exporters import exporter

    exporter(format)  # an unknown name is said before anything is read
    control = session.control()
    allocations = [published_allocation(control, experiment) for experiment in dict.fromkeys(experiments)]
    if out is not None and out.exists():
        _check_file_is_ours(out, format, experiments)
        previous = previous or out
    made = render_document(allocations, format, _read(previous) if previous else None)
    if out is not None:
        _replace(out, made.document)
    if json:
        render.show_json(_report(made))
    else:
        if out is None:
            render.show_json(made.document)
        for placement in made.placements:
            for sentence in _notes(made.format, placement):
                render.note(f"{placement.allocation.experiment_id}: {sentence}")


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json_.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path} holds no JSON ({error}): name another file, or remove it.") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} holds no JSON object: name another file, or remove it.")
    return document


def _check_file_is_ours(path: Path, format: str, experiments: list[str]) -> None:
    """Replacing a file must lose no flag: neither another experiment's nor one that somebody wrote by hand."""
    from trimtab.exporters import segments_in

    others = sorted({*segments_in(_read(path), format)} - {*experiments})
    if others:
        raise InvalidInput(
            f"{path} also holds {', '.join(others)}, which would be lost: export them too, or give another file."
        )


def _replace(path: Path, document: dict[str, Any]) -> None:
    """Whoever watches the file sees the old document or the new one, never half of one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(json_.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def _notes(format: str, placement: Placement) -> list[str]:
    from trimtab.exporters import EXPORTERS

    buckets, error = placement.resolution, placement.rounding_error
    notes = [f"{len(placement.segments)} ranges over {buckets:,} buckets, {_rounding(error)}."]
    if placement.movement is not None:
        moves = placement.movement
        notes.append(
            f"{_points(moves.parts)} of units change variant; their weights ask for {_points(moves.total_variation)}, "
            f"one range per variant in a fixed order would move {_points(moves.fixed_order)}."
        )
    notes += [
        f"{variant} gets nobody: {format} cannot serve its {_points(placement.allocation.weights[variant])}."
        for variant in placement.starved
    ]
    notes += [
        f"{format} answers {variant} also where it has no answer: a program cannot tell the two apart."
        for variant in placement.variants
        if variant in EXPORTERS[format].reserved
    ]
    return notes


def _rounding(error: float) -> str:
    return f"shares up to {error:.4%} off their weights" if error else "shares exactly the weights"


def _points(parts: int) -> str:
    return f"{parts / PARTS:.2%}"


def _report(made: Export) -> dict[str, Any]:
    """Everything as one object; shares, errors and movements are shares of units, in [0, 1]."""
    return {
        "format": made.format,
        "resolution": made.resolution,
        "rounding_error": made.rounding_error,
        "extra_movement": made.extra_movement,
        "experiments": {placement.allocation.experiment_id: _figures(placement) for placement in made.placements},
        "document": made.document,
    }


def _figures(placement: Placement) -> dict[str, Any]:
    moves = placement.movement
    return {
        "revision": placement.allocation.revision,
        "epoch": placement.allocation.epoch,
        "ranges": len(placement.segments),
        "shares": placement.shares,
        "starved": list(placement.starved),
        "movement": moves
        and {
            "share": moves.parts / PARTS,
            "total_variation": moves.total_variation / PARTS,
            "extra": moves.extra / PARTS,
            "fixed_order": moves.fixed_order / PARTS,
        },
    }
