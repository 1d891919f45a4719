"""Allocations as documents of the flag systems that people already run: pure functions, one module per format.

::

    allocation ─► placement ─► format ─► document
    ranges        the target's  flagd · growthbook · unleash · launchdarkly · configcat · flagsmith · split
                  buckets       ◄─ read: the segments of a document served before

`export` lays the new document out so that as few units as possible change variant against the one before, and says
what the target's resolution costs; `EXPORTERS[name].render(allocations)` is the same without a document before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.errors import InvalidInput
from trimtab.exporters.configcat import CONFIGCAT
from trimtab.exporters.flagd import FLAGD
from trimtab.exporters.flagsmith import FLAGSMITH
from trimtab.exporters.form import UNREADABLE, Document, Format, by_id, checked
from trimtab.exporters.growthbook import GROWTHBOOK
from trimtab.exporters.launchdarkly import LAUNCHDARKLY
from trimtab.exporters.placement import Before, Movement, Placement, Segments, place
from trimtab.exporters.split import SPLIT
from trimtab.exporters.unleash import UNLEASH
from trimtab.schema.allocation import Allocation
from trimtab.schema.base import PARTS

__all__ = ["EXPORTERS", "Export", "Format", "Movement", "Placement", "export", "exporter", "segments_in"]

EXPORTERS: Mapping[str, Format] = {
    form.name: form for form in (FLAGD, GROWTHBOOK, UNLEASH, LAUNCHDARKLY, CONFIGCAT, FLAGSMITH, SPLIT)
}


@dataclass(frozen=True, slots=True)
class Export:
    """A document and what it serves; figures are shares of units in [0, 1]."""

    format: str
    document: Document
    placements: tuple[Placement, ...]

    @property
    def resolution(self) -> int:
        """How many buckets the target tells apart."""
        return EXPORTERS[self.format].resolution

    @property
    def rounding_error(self) -> float:
        """The largest difference between a share served and its weight."""
        return max((placement.rounding_error for placement in self.placements), default=0.0)

    @property
    def extra_movement(self) -> float:
        """The most that any experiment moves beyond its total variation; 0 where nothing came before."""
        extra = (placement.movement.extra for placement in self.placements if placement.movement)
        return max(extra, default=0) / PARTS


def export(
    allocations: Allocation | Iterable[Allocation], format: str, previous: Export | Mapping[str, Any] | None = None
) -> Export:
    """The document of `format` for these experiments, in the order of their ids.

    `previous` is what the target served before: the export, or its document alone, whose shares then stand for the
    weights that it was rounded from. Targets that are as fine as our million buckets need none: there a document
    follows from its allocations, and so does what moves.

    Raises:
        InvalidInput: an unknown format, or a previous document that this format did not write.
    """
    form = exporter(format)
    before = _before(form, previous)
    wanted = by_id([allocations] if isinstance(allocations, Allocation) else allocations)
    placed = tuple(place(allocation, form.resolution, before.get(allocation.experiment_id)) for allocation in wanted)
    return Export(form.name, form.write(placed), placed)


def exporter(format: str) -> Format:
    """The format of that name.

    Raises:
        InvalidInput: there is none.
    """
    if format not in EXPORTERS:
        raise InvalidInput(f"There is no format {format!r}: take one of {', '.join(EXPORTERS)}.", value=format)
    return EXPORTERS[format]


def segments_in(document: Mapping[str, Any], format: str) -> dict[str, Segments]:
    """The segments of every flag in a document that was exported before, by experiment.

    Raises:
        InvalidInput: an unknown format, or a document that this format did not write.
    """
    form = exporter(format)
    try:
        return {name: tuple(map(checked, segments)) for name, segments in form.read(document).items()}
    except UNREADABLE as error:
        raise InvalidInput(
            f"The document before is none that trimtab wrote for {form.name} ({type(error).__name__}: {error}): "
            "leave it out, or name the right format."
        ) from error


def _before(form: Format, previous: Export | Mapping[str, Any] | None) -> dict[str, Before]:
    if previous is None:
        return {}
    if isinstance(previous, Export):
        return {
            placement.allocation.experiment_id: Before(placement.segments, placement.allocation.weights)
            for placement in previous.placements
        }
    return {name: Before(segments) for name, segments in segments_in(previous, form.name).items()}
