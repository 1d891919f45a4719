"""What must be known of earlier events before the surveyed ones can be counted: marks to look for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from trimtab.fold.accept import Accepted
from trimtab.fold.caps import Slots
from trimtab.fold.dedupe import (
    HOUR,
    Lookup,
    Mask,
    Scope,
    hour_scope,
    import_scope,
    marks_of,
    slot_scope,
    unit_scope,
)
from trimtab.fold.findings import Findings

LookUp = Callable[[Sequence[Lookup]], Mapping[str, Mask]]
"""Tells for each scope by name which of the marks to look for are set."""


@dataclass(slots=True)
class Questions:
    """The marks that the surveyed events ask for, by experiment."""

    events: dict[str, list[Scope]] = field(default_factory=dict)
    units: dict[str, Scope] = field(default_factory=dict)
    slots: dict[str, list[Slots]] = field(default_factory=dict)
    conflicts: Counter[str] = field(default_factory=Counter)  # repeated events that say something else than the first

    def scopes(self) -> Iterator[Scope]:
        """Every scope of which one look at its marks tells all, each once."""
        yield from chain.from_iterable(self.events.values())
        yield from self.units.values()

    def answer(self, look_up: LookUp) -> dict[str, Mask]:
        """Which unique marks of `scopes` are set already, by name; all slots learn how many of them are taken."""
        known = dict(look_up(list(self.scopes())))
        slots = list(chain.from_iterable(self.slots.values()))
        while probes := [(each, probe) for each in slots if (probe := each.probe()) is not None]:
            found = look_up([probe for _, probe in probes])
            for each, probe in probes:
                each.learn(found[probe.name])
        return known


def ask(found: Findings) -> Questions:
    """What must be known of earlier events before the surveyed ones can be counted."""
    questions, counts = Questions(), found.start.scopes
    for name, tables in found.accepted.items():
        first_rows = np.cumsum([0, *(table.n for table in tables)]).tolist()
        scopes: list[Scope] = []
        for start, table in zip(first_rows[:-1], tables, strict=True):
            own = _event_scopes(name, table, start, counts)
            scopes += own
            if table.together:  # across entries it would depend on which of them were read together
                questions.conflicts[name] += sum(_conflicts(table, scope, start) for scope in own)
        if scopes:
            questions.events[name] = _join(scopes)
        if any(table.unit_cap is not None for table in tables):
            questions.slots[name] = _slots(name, tables, first_rows, counts)
        elif tables[0].unit_ids is not None:
            units = marks_of(unit for table in tables for unit in table.unit_ids or ())
            scope = unit_scope(name)
            questions.units[name] = Scope(scope, counts.get(scope, 0), np.arange(len(units)), units)
    return questions


def _slots(name: str, tables: list[Accepted], first_rows: list[int], counts: Mapping[str, int]) -> list[Slots]:
    """The slots, by hour, that events under a cap ask for; the cap may have changed from table to table."""
    capped = [(start, t, t.unit_cap) for start, t in zip(first_rows[:-1], tables, strict=True) if t.unit_cap]
    rows = np.concatenate([np.arange(start, start + table.n) for start, table, _ in capped])
    caps = np.repeat([cap for _, _, cap in capped], [table.n for _, table, _ in capped])
    hours = np.concatenate([table.occurred_at for _, table, _ in capped]) // HOUR
    units = marks_of(unit for _, table, _ in capped for unit in table.unit_ids or ())
    slots = []
    for hour in np.unique(hours).tolist():
        scope, inside = slot_scope(name, hour), hours == hour
        slots.append(Slots(Scope(scope, counts.get(scope, 0), rows[inside], units[inside]), caps[inside]))
    return slots


def _event_scopes(name: str, table: Accepted, start: int, counts: Mapping[str, int]) -> list[Scope]:
    if table.event_ids is None:
        return []
    ids = table.event_ids
    rows = np.array([row for row, event_id in enumerate(ids) if event_id is not None], dtype=np.int64)
    marks = marks_of(event_id for event_id in ids if event_id is not None)
    if table.imported:
        scope = import_scope(name)
        return [Scope(scope, counts.get(scope, 0), rows + start, marks)]
    hours = table.occurred_at[rows] // HOUR
    scopes = []
    for hour in np.unique(hours).tolist():
        scope, inside = hour_scope(name, hour), hours == hour
        scopes.append(Scope(scope, counts.get(scope, 0), rows[inside] + start, marks[inside]))
    return scopes


def _conflicts(table: Accepted, scope: Scope, start: int) -> int:
    """How many repetitions in one batch say something else than the first of their id, which is the one that counts."""
    if len(scope.unique) == len(scope.marks):
        return 0
    rows, firsts = scope.rows - start, scope.firsts() - start
    differ = table.cell[rows] != table.cell[firsts]
    for metric, values in table.values.items():
        differ |= values[rows] != values[firsts]
        given = table.present[metric]
        if given is not None:
            differ |= given[rows] != given[firsts]
    return int(differ.sum())


def _join(scopes: list[Scope]) -> list[Scope]:
    """Scopes of one name as one, in log order."""
    groups: dict[str, list[Scope]] = {}
    for scope in scopes:
        groups.setdefault(scope.name, []).append(scope)
    return [
        Scope(name, group[0].count, np.concatenate([s.rows for s in group]), np.concatenate([s.marks for s in group]))
        for name, group in groups.items()
    ]
