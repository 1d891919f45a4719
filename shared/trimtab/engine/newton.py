"""Damped Newton: the way up a concave function, for whoever can say where it starts and which way is up.

The log-likelihoods of the estimator are concave, so the summit that is found is the only one.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

_STEPS = 60  # Newton takes about four; step halving may need more on adversarial data
_HALVINGS = 40
_LONGEST = 2.0  # in logits: from the far flat tail a full step would overshoot to infinity
_LAST = 1e-5  # convergence is quadratic: after a step this short, no more than its square is left


class Place(Protocol):
    """Somewhere on the hill, with all that a step from there needs."""

    @property
    def value(self) -> float:
        """The height there."""


P = TypeVar("P", bound=Place)
S = TypeVar("S")


class Hill(Protocol[P, S]):
    """A concave function, by its places and the steps between them."""

    def start(self) -> P:
        """Where to begin."""

    def step(self, here: P, /) -> tuple[S, float]:
        """The full Newton step, and the size of its largest coordinate."""

    def move(self, here: P, step: S, length: float, /) -> P:
        """Where `length` times the step leads to."""


def summit(hill: Hill[P, S]) -> P:
    """The place of the maximum."""
    here = hill.start()
    for _ in range(_STEPS):
        step, size = hill.step(here)
        here = _climb(hill, here, step, 1.0 if size <= _LONGEST else _LONGEST / size)
        if size < _LAST:
            break
    return here


def _climb(hill: Hill[P, S], here: P, step: S, length: float) -> P:
    """The place a step leads to, halved until it is no lower than `here`, up to rounding."""
    least = here.value - 1e-12 * (1 + abs(here.value))
    for _ in range(_HALVINGS):
        there = hill.move(here, step, length)
        if there.value >= least:
            return there
        length /= 2
    return here
