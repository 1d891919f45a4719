"""What handlers work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from trimtab.client._reading import is_slug
from trimtab_worker.gateway.access import Gate
from trimtab_worker.gateway.board import Board
from trimtab_worker.gateway.intake import Intake
from trimtab_worker.gateway.problems import invalid


class Rendered(NamedTuple):
    """A payload of all experiments in one format."""

    source: tuple[str, ...]  # tags of what it was made from
    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of one gateway."""

    board: Board
    intake: Intake
    gate: Gate
    rendered: dict[str, Rendered] = field(default_factory=dict)


def checked_slug(text: str) -> str:
    """An experiment's id as it came in a path.

    Raises:
        Refusal: 400, it cannot be one.
    """
    if not is_slug(text):
        raise invalid("An experiment's id has 1 to 64 characters: a-z, 0-9, _ and -, the first neither _ nor -.")
    return text
