"""Dedupe marks that this process has seen set: answers without a journey to the server.

What is remembered is exact, for a commit only succeeds while nobody else changes the state; one that fails throws all
of this away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from trimtab.fold.commit import IdArray
from trimtab.fold.dedupe import Lookup, Mask

# 8 bytes each: 32 MiB. A scope that outgrows what is left is asked for at the server again.
MOST_MARKS = 4 * 2**20


@dataclass(slots=True)
class RememberedMarks:
    """Marks of whole scopes, as few sorted runs each, so that adding and searching both stay logarithmic."""

    runs: dict[str, list[IdArray]] = field(default_factory=dict)
    total: int = 0

    def holds(self, scope: Lookup) -> bool:
        """Whether all marks of the scope are remembered; those of an empty one are."""
        if scope.count == 0 and scope.name not in self.runs:
            self.runs[scope.name] = []
        return scope.name in self.runs

    def known(self, scope: Lookup) -> Mask:
        """Which of the marks that are looked for are set."""
        found = np.zeros(len(scope.unique), dtype=np.bool_)
        for run in self.runs[scope.name]:
            places = np.minimum(np.searchsorted(run, scope.unique), len(run) - 1)
            found |= run[places] == scope.unique
        return found

    def add(self, name: str, marks: IdArray) -> None:
        """Remember that `marks` of the scope were set."""
        if name not in self.runs or not len(marks):
            return
        if self.total + len(marks) > MOST_MARKS:
            self.forget([name])
            return
        self.total += len(marks)
        runs, run = self.runs[name], np.sort(marks)
        while runs and len(runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([runs.pop(), run]), kind="stable")
        runs.append(run)

    def forget(self, names: Iterable[str]) -> None:
        """Drop scopes whose marks are gone, or too many."""
        for name in names:
            self.total -= sum(map(len, self.runs.pop(name, [])))
