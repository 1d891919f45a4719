"""Entries that kill their reader have no verdict of their own: they are found by halving, and set aside.

A drain leaves a note while it lives. Who finds a note comes after a death, and goes carefully: few entries at a time,
each time with a note of which. After another death half as many are read; an entry that was alone at two deaths is
quarantined, and counts as a dead letter. That takes ten drains at most; without a death it takes two commands a drain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import structlog

from trimtab.fold import Entry
from trimtab.fold.commit import Cursor
from trimtab.ports import PartitionStore

CAREFUL_COUNT = 64  # entries in a careful read: few enough to halve in six deaths
SUSPECTS = 8192  # the largest read, all of which may be suspect after a death that left no note of its read
OPEN = "open"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """What was being folded: `n` entries after the cursor `id`; `deaths` of one entry alone, this try included."""

    id: str
    n: int
    deaths: int = 1

    def __str__(self) -> str:
        return f"{self.id} {self.n} {self.deaths}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        match text.split(" "):
            case [entry_id, n, deaths]:
                return cls(entry_id, int(n), int(deaths))
        return None


@dataclass(slots=True)
class Attempts:
    """What one drain knows of the deaths before it."""

    store: PartitionStore
    at_risk: bool = False  # something that only entries can make fail is being done
    _careful: int = 0  # entries still to be read carefully
    _left: Note | None = None  # by who died last
    _suspects: int = 0  # entries from here on that were read at the last death
    _half: int = CAREFUL_COUNT

    def begin(self) -> None:
        """Leave a note; go carefully where one was left."""
        found = self.store.note_attempt(OPEN, keep=True)
        self.at_risk, self._suspects, self._half = False, 0, CAREFUL_COUNT
        self._careful = SUSPECTS if found else 0
        self._left = Note.parse(found)

    def end(self) -> None:
        """Take the note away, unless the entries are to blame for this end."""
        if not self.at_risk:
            self.store.end_attempt()

    def count(self, cursor: Cursor, count: int) -> int:
        """How many entries to read after `cursor` where `count` were meant."""
        if not self._careful:
            return count
        left = self._left if self._left and self._left.id == cursor.id else None
        if left:
            self._suspects, self._half = left.n, max(1, left.n // 2)
        return min(self._half, self._suspects) if self._suspects else CAREFUL_COUNT

    def trying(self, cursor: Cursor, entries: list[Entry]) -> bool:
        """Note what is folded next; False if it must not be: it was quarantined, and the state is another."""
        if not self._careful:
            return True
        left, alone = self._left, len(entries) == 1
        deaths = left.deaths if left and alone and (left.id, left.n) == (cursor.id, 1) else 0
        if deaths >= 2:
            if self.store.quarantine(entries[0].id, cursor):
                log.error("entry_quarantined", partition=self.store.partition, entry=entries[0].id)
            self._relax()
            return False
        self.store.note_attempt(str(Note(cursor.id, len(entries), deaths + 1)))
        return True

    def survived(self, n: int) -> None:
        """`n` entries were folded; 0: there is nothing left to be careful about."""
        if not self._careful:
            return
        self._left = None
        self._suspects = max(0, self._suspects - n)
        self._careful = max(0, self._careful - n) if n else 0
        if not self._careful:
            self._relax()

    def _relax(self) -> None:
        self._careful, self._suspects, self._left = 0, 0, None
        self.store.note_attempt(OPEN)
