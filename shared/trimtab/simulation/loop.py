"""The closed loop: serve, draw, count, decide, again, for many runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from multiprocessing import get_context
from typing import Self

import numpy as np

from trimtab.engine import Cells, Result
from trimtab.errors import InvalidInput
from trimtab.schema.base import PARTS
from trimtab.simulation.outcomes import Floats
from trimtab.simulation.policies import Policy, Seen, cells_of, even_parts
from trimtab.simulation.sums import Ints, Sums
from trimtab.simulation.worlds import World


@dataclass(frozen=True)
class History:
    """What happened in R runs of a policy over T steps of a world.

    `parts` (R, T, K) served each step and `parts_after` (R, K) come out of the last decision; `epochs` (R, T) is the
    epoch of each step, `drawn` (R, T, K) what its units did, `arrived` (R, E, K) what was counted, by epoch. `results`
    (T tuples of R) are the decisions taken after each step, if they were kept.
    """

    world: World
    policy: str
    parts: Ints
    parts_after: Ints
    epochs: Ints
    drawn: Sums
    arrived: Sums
    results: tuple[tuple[Result, ...], ...] = ()

    @property
    def weights(self) -> Floats:
        """(R, T, K) shares served."""
        return self.parts / PARTS

    @property
    def weights_after(self) -> Floats:
        """(R, K) shares that come out of the last decision."""
        return self.parts_after / PARTS

    @property
    def runs(self) -> int:
        return len(self.parts)

    @property
    def regret(self) -> Floats:
        """(R, T) what each step is expected to lose against serving that step's best variant alone."""
        lost: Floats = self.world.batch * (self.weights * self.world.gaps).sum(axis=2)
        return lost

    def cells(self, run: int) -> Cells:
        """What one run ended up with, as the engine takes it."""
        return cells_of(self.world, self.arrived[run], self.world.present[-1])

    @classmethod
    def join(cls, histories: Sequence[Self]) -> Self:
        """Runs of the same policy in the same world, one after another."""
        first = histories[0]
        return cls(
            world=first.world,
            policy=first.policy,
            parts=np.concatenate([each.parts for each in histories]),
            parts_after=np.concatenate([each.parts_after for each in histories]),
            epochs=np.concatenate([each.epochs for each in histories]),
            drawn=Sums.concatenate([each.drawn for each in histories]),
            arrived=Sums.concatenate([each.arrived for each in histories]),
            results=tuple(
                tuple(chain.from_iterable(step)) for step in zip(*(each.results for each in histories), strict=True)
            ),
        )


def simulate(
    world: World, policy: Policy, *, runs: int = 1, seed: int = 0, jobs: int = 1, keep_results: bool = False
) -> History:
    """Run `policy` over `world`, `runs` times.

    Each run draws from a generator of its own, the run's child of `SeedSequence(seed)`: run 7 is the same however many
    runs there are, and however many processes share them.

    Args:
        runs: at least 1.
        seed: any integer ≥ 0; 0 is a seed.
        jobs: processes that share the runs; more than one pays from some hundred decisions on.
        keep_results: keep every decision with its explanation.

    Raises:
        InvalidInput: no runs, or a negative seed.
    """
    for name, value, least in (("runs", runs, 1), ("seed", seed, 0), ("jobs", jobs, 1)):
        if value < least:
            raise InvalidInput(f"{name} is {value}: give {least} or more.", field=name, value=value)
    seeds = np.random.SeedSequence(seed).spawn(runs)
    play = partial(_play, world, policy, keep_results)
    if jobs == 1 or runs == 1:
        return play(seeds)
    bounds = np.linspace(0, runs, min(jobs, runs) + 1).astype(int)
    chunks = [seeds[start:end] for start, end in pairwise(bounds)]
    # Spawned, not forked: the caller's process may hold threads.
    with ProcessPoolExecutor(len(chunks), mp_context=get_context("spawn")) as pool:
        return History.join(list(pool.map(play, chunks)))


def _play(world: World, policy: Policy, keep_results: bool, seeds: Sequence[np.random.SeedSequence]) -> History:
    loop, results = _Loop(world, policy, [np.random.default_rng(seed) for seed in seeds]), []
    for step in range(world.steps):
        loop.serve(step)
        loop.count(step)
        found = loop.decide(step)
        if keep_results:
            results.append(found)
    drawn = loop.drawn.over(0)
    return History(world, policy.name, loop.served, loop.parts, loop.epochs, drawn, loop.arrived, tuple(results))


class _Loop:
    """What R runs share on their way through a world; `drawn` (L, R, T, K) still knows by how much each is late."""

    def __init__(self, world: World, policy: Policy, rngs: Sequence[np.random.Generator]) -> None:
        runs, steps, size = len(rngs), world.steps, world.size
        self.world, self.policy, self.rngs = world, policy, rngs
        self.parts = even_parts(world.present[0], runs)
        self.epoch, self.changed_at = np.zeros(runs, np.int64), np.full(runs, -1, np.int64)
        self.started_at = np.full((runs, steps + 1), -1, np.int64)
        self.started_at[:, 0] = 0
        self.served, self.epochs = np.zeros((runs, steps, size), np.int64), np.zeros((runs, steps), np.int64)
        self.drawn, self.arrived = Sums.zeros(len(world.arrival), runs, steps, size), Sums.zeros(runs, steps, size)

    def serve(self, step: int) -> None:
        """One step's units meet the weights in force."""
        self.served[:, step], self.epochs[:, step] = self.parts, self.epoch
        for run, rng in enumerate(self.rngs):
            self.drawn.add((slice(None), run, step), self.world.draw(step, self.parts[run] / PARTS, rng))

    def count(self, step: int) -> None:
        """What arrives in this step is counted in the epoch that served it."""
        runs = np.arange(len(self.rngs))
        for lag in range(min(len(self.world.arrival), step + 1)):
            then = step - lag
            self.arrived.add((runs, self.epochs[:, then]), self.drawn[lag, :, then])

    def decide(self, step: int) -> tuple[Result, ...]:
        """The policy chooses for the next step; weights that move begin an epoch."""
        now = round((step + 1) * self.world.step_seconds * 1000)
        present = self.world.present[min(step + 1, self.world.steps - 1)]
        reached = int(self.epoch.max()) + 1
        seen = Seen(
            world=self.world,
            now=now,
            sums=self.arrived[:, :reached],
            parts=self.parts,
            changed_at=self.changed_at,
            started_at=self.started_at[:, :reached],
            present=present,
            entered_later=present & (np.array(self.world.enters) > 0),
        )
        choice = self.policy.choose(seen)
        moved = (choice.parts != self.parts).any(axis=1)
        self.epoch, self.parts = self.epoch + moved, choice.parts
        self.changed_at = np.where(moved, now, self.changed_at)
        self.started_at[moved, self.epoch[moved]] = now
        return choice.results
