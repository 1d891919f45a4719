"""Which events were counted before: by event id within the horizon, by unit for an experiment's life.

A mark is a 19-digit integer made of a digest of the id. Marks of one scope (an experiment's units, its imports, one
hour of its events, or of the slots of `caps`) live in small integer sets: a set of at most 512 integers costs Redis
8 bytes a mark (measured: 9.0 with its key). So that sets stay small without knowing the traffic beforehand, a scope
opens level after level: level L has 8ᴸ sets of 256 marks on average, and the i-th mark's level depends on i alone, so
that the same log always fills the same sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from trimtab.fold.commit import IdArray

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

HOUR = 3_600_000
MARKS_PER_SET = 256  # half of Redis' default set-max-intset-entries: chance makes no set outgrow it
GROWTH = 8

# Marks have exactly 19 digits, so that many travel as one string cut into equal pieces; they fit a signed 64-bit.
SMALLEST_MARK, MARKS = 10**18, 8 * 10**18


def marks_of(identifiers: Iterable[str]) -> IdArray:
    """The mark of each id; two ids share one with probability 1.3e-19, a million ids collide 6e-8 of the time.

    BLAKE2b rather than a fast hash, so that nobody can craft an id that takes the mark of another's.
    """
    digests = b"".join([blake2b(text.encode(), digest_size=8).digest() for text in identifiers])
    return (np.frombuffer(digests, dtype=">u8") % MARKS + SMALLEST_MARK).astype(np.int64)


def unit_scope(experiment_id: str) -> str:
    return f"{experiment_id}:units"


def import_scope(experiment_id: str) -> str:
    return f"{experiment_id}:imports"


def hour_scope(experiment_id: str, hour: int) -> str:
    return f"{experiment_id}:h{hour}"


def slot_scope(experiment_id: str, hour: int) -> str:
    return f"{experiment_id}:s{hour}"


def expires_at(scope: str, horizon: int) -> int | None:
    """When the log's clock makes a scope's marks unreachable; None where only the experiment's end does."""
    kind = scope.rpartition(":")[2]
    return (int(kind[1:]) + 1) * HOUR + horizon if kind[0] in "hs" and kind[1:].isdigit() else None


def levels(count: int) -> Iterator[tuple[int, int, int]]:
    """(level, first ordinal, sets) of every level that a scope of `count` marks has opened."""
    level, first = 0, 0
    while first < count:
        sets = GROWTH**level
        yield level, first, sets
        level, first = level + 1, first + sets * MARKS_PER_SET


def all_buckets(scope: str, count: int) -> list[str]:
    """Names of every set that a scope of `count` marks may have filled."""
    return [f"{scope}:{level}:{place}" for level, _, sets in levels(count) for place in range(sets)]


def _spread(scope: str, level: int, sets: int, marks: IdArray) -> Iterator[tuple[str, IdArray, Integers]]:
    """The marks by set, with their places in `marks`."""
    if sets == 1:
        yield f"{scope}:{level}:0", marks, np.arange(len(marks))
        return
    which = marks % sets
    order = np.argsort(which, kind="stable")
    ordered = which[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        places = order[start:end]
        yield f"{scope}:{level}:{ordered[start]}", marks[places], places


@dataclass(slots=True)
class Lookup:
    """Marks to look for in one scope, which holds `count` already."""

    name: str
    count: int
    unique: IdArray

    def lookups(self) -> dict[str, IdArray]:
        """Which marks to look for in which sets."""
        sets = levels(self.count)
        return {name: part for level, _, n in sets for name, part, _ in _spread(self.name, level, n, self.unique)}

    def known(self, seen: Mapping[str, Mask]) -> Mask:
        """Which of `unique` are marked already, by the answers to `lookups`."""
        known = np.zeros(len(self.unique), dtype=np.bool_)
        for level, _, sets in levels(self.count):
            for name, _, places in _spread(self.name, level, sets, self.unique):
                known[places] |= seen[name]
        return known

    def place(self, new: IdArray) -> dict[str, IdArray]:
        """The sets that take the scope's `new` marks, which follow those it has."""
        buckets: dict[str, IdArray] = {}
        for level, first, sets in levels(self.count + len(new)):
            share = new[max(0, first - self.count) : max(0, first + sets * MARKS_PER_SET - self.count)]
            if len(share):
                buckets |= {name: part for name, part, _ in _spread(self.name, level, sets, share)}
        return buckets


@dataclass(slots=True)
class Scope(Lookup):
    """The marks that entries ask for in one scope; `rows` and `marks` in log order, `unique` sorted."""

    unique: IdArray = field(init=False)
    rows: Integers
    marks: IdArray
    which: Integers = field(init=False)  # which of `unique` each row asks for
    _first: Integers = field(init=False)  # where each of `unique` stands first

    def __post_init__(self) -> None:
        self.unique, self._first, self.which = np.unique(self.marks, return_index=True, return_inverse=True)

    def firsts(self) -> Integers:
        """For each row, the row at which its mark stands first."""
        return self.rows[self._first[self.which]]

    def first_seen(self, known: Mask, among: Mask | None = None) -> tuple[Integers, IdArray]:
        """Rows whose mark is new and first of its kind, and those marks in log order; `among` narrows the rows."""
        if among is None:
            places = np.sort(self._first[~known])
        else:
            able = np.flatnonzero(among[self.rows])
            unique, first = np.unique(self.which[able], return_index=True)
            places = np.sort(able[first[~known[unique]]])
        return self.rows[places], self.marks[places]
