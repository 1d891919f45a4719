"""How many of an experiment's events were refused lately, and when these are too many to move weights on.

A few bad events are noise, many are a producer that broke: what still counts is then no fair sample. The limits are
those of Arroyo's dead-letter queues, asked per experiment: a share of a window, and a run without a break.
"""

from __future__ import annotations

import json
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

WINDOW = 1000
MOST_REFUSED = 50
"""5 % of the window: more of them hold the experiment's weights."""

LONGEST_RUN = 100
"""So many refused in a row hold them at once, before a first window is full."""


class Refusals(NamedTuple):
    """What is remembered of an experiment's newest events, since it was last started or resumed.

    It is a function of which events were refused, in the order of the log, and not of how that log was read: whoever
    folds it in other pieces comes to the same. Bounded: the numbers of 51 events.
    """

    seen: int = 0
    run: int = 0  # how many of the newest were refused, with none that was not between them
    burst: bool = False  # there was a run of LONGEST_RUN, and no window is full yet
    newest: tuple[int, ...] = ()  # numbers of the newest refused, inside the window; one more than may be at most

    @property
    def excessive(self) -> bool:
        """Whether weights must stay."""
        return self.burst or (self.seen >= WINDOW and len(self.newest) > MOST_REFUSED)

    def after(self, n: int, refused: Mask | None = None) -> Self:
        """After `n` more events, of which `refused` marks those that were; None: none was."""
        seen, bad = self.seen + n, refused is not None and bool(refused.any())
        run, longest, newest = (0, 0, self.newest) if n else (self.run, 0, self.newest)
        if refused is not None and bad:
            others = np.flatnonzero(~refused)
            runs = np.diff(np.concatenate(([-1 - self.run], others, [n]))) - 1
            run, longest = int(runs[-1]), int(runs.max())
            newest += tuple((np.flatnonzero(refused)[-MOST_REFUSED - 1 :] + self.seen + 1).tolist())
        return self._replace(
            seen=seen,
            run=run,
            burst=seen < WINDOW and (self.burst or longest >= LONGEST_RUN),
            newest=tuple(number for number in newest[-MOST_REFUSED - 1 :] if number > seen - WINDOW),
        )

    def __str__(self) -> str:
        return json.dumps([self.seen, self.run, int(self.burst), self.newest])

    @classmethod
    def parse(cls, text: str) -> Self:
        seen, run, burst, newest = json.loads(text)
        return cls(int(seen), int(run), bool(burst), tuple(newest))
