"""Worlds: frozen descriptions of a truth that a policy has to find, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind
from trimtab.simulation.outcomes import Binary, Floats, Outcome
from trimtab.simulation.sums import Sums

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, eq=False)
class World:
    """T steps of `batch` units each, K variants, and what each variant is worth at each step.

    Args:
        name: what it is called in tables.
        rates: (T, K) the outcome's rate; chances of success for binary metrics and revenue, means otherwise.
        batch: units a step.
        outcome: the metric's kind and the distribution of a single outcome.
        enters: (K,) the step from which a variant can be served; left out: all are there from the start.
        arrival: shares of the outcomes that are counted 0, 1, 2 … steps after the step that served them; add up to 1.
        step_seconds: how long a step takes; what a cooldown is measured against.

    Raises:
        InvalidInput: rates that no outcome can have, shapes that do not match, nobody there at the start.
    """

    name: str
    rates: Floats
    batch: int = 1000
    outcome: Outcome = field(default_factory=Binary)
    enters: tuple[int, ...] = ()
    arrival: tuple[float, ...] = (1.0,)
    step_seconds: float = 3600.0

    def __post_init__(self) -> None:
        rates = np.array(self.rates, float)
        rates.setflags(write=False)
        object.__setattr__(self, "rates", rates)
        if rates.ndim == 2 and not self.enters:
            object.__setattr__(self, "enters", (0,) * rates.shape[1])
        _check(self)

    @property
    def steps(self) -> int:
        return int(self.rates.shape[0])

    @property
    def size(self) -> int:
        """K, the number of variants."""
        return int(self.rates.shape[1])

    @property
    def units(self) -> int:
        """Units over all steps."""
        return self.steps * self.batch

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """Ids in sorted order: a, b, c …, or v001, v002 … where letters do not suffice."""
        if self.size <= len(_LETTERS):
            return tuple(_LETTERS[: self.size])
        return tuple(f"v{k + 1:0{len(str(self.size))}}" for k in range(self.size))

    @cached_property
    def means(self) -> Floats:
        """(T, K) true expectation of one unit's outcome, in the metric's own unit."""
        return self.outcome.mean(self.rates)

    @cached_property
    def present(self) -> npt.NDArray[np.bool_]:
        """(T, K) whether a variant can be served."""
        return np.arange(self.steps)[:, None] >= np.array(self.enters)

    @cached_property
    def best(self) -> npt.NDArray[np.intp]:
        """(T,) the variant with the largest mean among those present; of equal ones the first."""
        leaders: npt.NDArray[np.intp] = np.where(self.present, self.means, -np.inf).argmax(axis=1)
        return leaders

    @cached_property
    def gaps(self) -> Floats:
        """(T, K) what a unit loses with a variant against the best one of that step; 0 where it is absent."""
        best = self.means[np.arange(self.steps), self.best]
        return np.where(self.present, best[:, None] - self.means, 0.0)

    @cached_property
    def uniform_regret(self) -> Floats:
        """(T,) what a step loses when all variants present share it equally."""
        loss: Floats = self.batch * self.gaps.sum(axis=1) / self.present.sum(axis=1)
        return loss

    def draw(self, step: int, weights: Floats, rng: np.random.Generator) -> Sums:
        """One step's traffic under `weights` (…, K): sums (L, …, K), by how many steps late they are counted.

        Weights add up to 1; each unit meets one variant, and its outcome arrives with one lag.
        """
        n = rng.multinomial(self.batch, weights)
        by_lag = n[None] if len(self.arrival) == 1 else np.moveaxis(rng.multinomial(n, self.arrival), -1, 0)
        total, total_sq = self.outcome.draw(by_lag, self.rates[step], rng)
        return Sums(by_lag, total, total_sq)

    def late(self, *arrival: float) -> World:
        """The same world with outcomes that arrive late, in these shares per step of lag."""
        return replace(self, arrival=arrival)


def _check(world: World) -> None:
    rates = world.rates
    if rates.ndim != 2 or 0 in rates.shape:
        raise InvalidInput(f"rates have shape {rates.shape}; expected (steps, variants).", field="rates")
    chances = world.outcome.kind in (MetricKind.BINARY, MetricKind.REVENUE)
    low, high = (0.0, 1.0) if chances else (-np.inf, np.inf)
    if world.outcome.kind is MetricKind.COUNT:
        low = 0.0
    wrong = ~(np.isfinite(rates) & (rates >= low) & (rates <= high))
    if wrong.any():
        step, k = (int(place) for place in np.argwhere(wrong)[0])
        raise InvalidInput(
            f"World {world.name!r}: the rate of variant {world.variants[k]!r} at step {step} is "
            f"{rates[step, k]:g}, which no {world.outcome.kind} metric can have.",
            variant=world.variants[k],
            field="rates",
            value=float(rates[step, k]),
        )
    if world.batch < 1:
        raise InvalidInput(f"batch is {world.batch}: a step needs at least one unit.", field="batch", value=world.batch)
    if len(world.enters) != world.size or min(world.enters) != 0 or max(world.enters) >= world.steps:
        raise InvalidInput(
            f"enters is {world.enters}: give one step from 0 to {world.steps - 1} for each of {world.size} variants, "
            "0 for at least one.",
            field="enters",
            value=world.enters,
        )
    if min(world.arrival, default=-1.0) < 0 or abs(sum(world.arrival) - 1) > 1e-9:
        raise InvalidInput(
            f"arrival is {world.arrival}: shares of outcomes are not negative and add up to 1.",
            field="arrival",
            value=world.arrival,
        )
