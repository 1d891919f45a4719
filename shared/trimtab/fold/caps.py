"""How many outcomes of one unit count in an hour, where an experiment that counts events sets a cap.

An outcome that counts takes the next free slot of its unit and hour, in log order, and a taken slot is a mark (see
`dedupe`): it is kept, forgotten, copied and rebuilt like all others. The hour is the one in which the outcome occurred,
so that it is the same whenever it arrives. As slots are taken in order, how many are is found by a search that
doubles, then halves: one look for a unit that was not seen before, at most 2·log₂ of the cap for any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from trimtab.fold.commit import IdArray
from trimtab.fold.dedupe import MARKS, SMALLEST_MARK, Integers, Lookup, Mask, Scope
from trimtab.schema.experiment import MOST_OUTCOMES_PER_UNIT_HOUR

# An odd step near the golden section of all marks: a unit's slots spread over all sets of a level.
_STEP = 4_944_271_909_999_158_787
_SHIFTS = np.array([slot * _STEP % MARKS for slot in range(MOST_OUTCOMES_PER_UNIT_HOUR)], dtype=np.uint64)


def slot_marks(units: IdArray, slots: Integers) -> IdArray:
    """The mark of each unit's slot, from the unit's own mark and the slot's number, which begins at 0."""
    shifted = (units - SMALLEST_MARK).astype(np.uint64) + _SHIFTS[slots]
    return (shifted % np.uint64(MARKS)).astype(np.int64) + SMALLEST_MARK


@dataclass(slots=True)
class Slots:
    """The slots of one hour that events ask for: `asked` by unit, under `caps`, one for each of its rows."""

    asked: Scope
    caps: Integers
    _taken: Integers = field(init=False)  # of each unit, how many slots are known to be taken
    _most: Integers = field(init=False)  # and how many may be, as far as it matters

    def __post_init__(self) -> None:
        self._taken = np.zeros(len(self.asked.unique), dtype=np.int64)
        self._most = np.full(len(self.asked.unique), self.caps.max())

    def probe(self) -> Lookup | None:
        """One slot of each unit of which not enough is known; None once all is."""
        units = np.flatnonzero(self._taken < self._most)
        if not len(units):
            return None
        marks = slot_marks(self.asked.unique[units], self._probed(units))
        return Lookup(self.asked.name, self.asked.count, marks)

    def learn(self, known: Mask) -> None:
        """Take the answers to the last `probe`."""
        units = np.flatnonzero(self._taken < self._most)
        slots = self._probed(units)
        self._taken[units[known]] = slots[known] + 1
        self._most[units[~known]] = slots[~known]

    def _probed(self, units: Integers) -> Integers:
        taken, most = self._taken[units], self._most[units]
        return np.asarray(np.minimum(2 * taken, (taken + most) // 2))

    def admit(self, fresh: Mask | None) -> tuple[Integers, IdArray]:
        """Rows for which a slot is free, and the marks of those slots, in log order; only `fresh` rows take one."""
        able = np.arange(len(self.caps)) if fresh is None else np.flatnonzero(fresh[self.asked.rows])
        changes = np.flatnonzero(np.diff(self.caps[able])) + 1
        rows: list[Integers] = []
        marks: list[IdArray] = []
        for start, end in pairwise([0, *changes.tolist(), len(able)]):  # one stretch, but where the cap was changed
            places = able[start:end]
            units = self.asked.which[places]
            slots = self._taken[units] + _how_many_before(units)
            free = slots < self.caps[places]
            units, slots = units[free], slots[free]
            rows.append(self.asked.rows[places[free]])
            marks.append(slot_marks(self.asked.unique[units], slots))
            self._taken += np.bincount(units, minlength=len(self._taken))
        return np.concatenate(rows), np.concatenate(marks)


def _how_many_before(values: Integers) -> Integers:
    """For each value, how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered, places = values[order], np.arange(len(values))
    first = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]][: len(values)], places, 0))
    before = np.empty(len(values), dtype=np.int64)
    before[order] = places - first
    return before
