"""Who serves an experiment's weights, and who serves old ones."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from trimtab.adapters.redis.connection import reaching
from trimtab.adapters.redis.serving import serving
from trimtab.schema.serving import ServingClient
from trimtab_worker.cli import render, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trimtab.schema.allocation import Allocation

Notes = list[tuple[int, ServingClient]]


def notes_on(experiment_id: str) -> Notes:
    """What flag clients have said of themselves lately, and when, newest first."""
    client = session.services().client
    with reaching(client):
        return serving(client, experiment_id)


def state(note: ServingClient, allocation: Allocation) -> str:
    """How what a client serves stands to what is published."""
    if note.incarnation != allocation.incarnation:
        return "another incarnation"
    if note.revision < allocation.revision:
        behind = "behind" if note.epoch != allocation.epoch else "same weights"
        return f"{behind}, stale" if note.stale else behind
    return "stale" if note.stale else "current"


def sentence(notes: Notes, allocation: Allocation) -> str:
    """All of them in one line."""
    if not notes:
        return "No flag client says that it serves them."
    states = Counter(state(note, allocation) for _, note in notes)
    plural = "s" if len(notes) > 1 else ""
    return f"Served by {len(notes):,} client{plural}: {', '.join(f'{n:,} {name}' for name, n in states.most_common())}."


def table(notes: Notes, allocation: Allocation) -> RenderableType:
    """One row per client."""
    grid = render.table("client", "revision", "epoch", "", "said at", right=("revision", "epoch"))
    for said_at, note in notes:
        how = state(note, allocation)
        grid.add_row(note.name, str(note.revision), str(note.epoch), how, render.instant(said_at))
    return grid


def documents(notes: Notes, allocation: Allocation) -> list[dict[str, object]]:
    """The same for programs; `said_at` in milliseconds of the data server's clock."""
    return [
        {**note.model_dump(mode="json"), "state": state(note, allocation), "said_at": at} for at, note in notes
    ]
