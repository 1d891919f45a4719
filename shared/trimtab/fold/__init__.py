"""The fold: from log entries to statistics, exactly; it reads nothing but its log prefix.

::

    entries ──► decode ──► survey ──► dedupe ──► caps ────────► aggregate ──► Commit
    (stream)    columns    checks     marks      marks again    exact sums    one atomic write

`decode` turns bytes into columns, `survey` places every event at its point of the log (clock, definition, epoch,
sequence) and refuses what cannot be applied, `dedupe` finds what was counted before, `caps` what is more than one unit
may add, `aggregate` sums integers, and `settle` puts the outcome into one `Commit`, which a store applies if the cursor
is still the one that was read. What dedupe and caps must know of earlier events, `questions` asks.
"""

from trimtab.fold.commit import Commit, Cursor, Entry
from trimtab.fold.decode import decode
from trimtab.fold.findings import Findings
from trimtab.fold.questions import Questions, ask
from trimtab.fold.settle import settle
from trimtab.fold.state import Cell, ExperimentState, PartitionState
from trimtab.fold.survey import mentioned, survey

__all__ = [
    "Cell",
    "Commit",
    "Cursor",
    "Entry",
    "ExperimentState",
    "Findings",
    "PartitionState",
    "Questions",
    "ask",
    "decode",
    "mentioned",
    "settle",
    "survey",
]
