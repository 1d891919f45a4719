"""Guardrails: every limit becomes one side of one box of whole parts, and the proposal goes to its nearest point.

lo_k = max(floor_k, prev_k − max_step), hi_k = min(ceiling_k, prev_k + max_step); pins are lo = hi. All limits hold at
once, in the published integers, not only in the floats before rounding (STATISTICS §3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import le
from types import MappingProxyType
from typing import NamedTuple

from trimtab.engine.projection import project
from trimtab.errors import InvalidInput
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints

_ROUNDING = 1e-3  # parts: .05 × 1e6 is 50,000 even where floats make it 50,000.000000000007


ENTRY_SHARE = .05
"""Share at which a variant added later waits for its evidence, unless limits or an operator say otherwise.

Evidence costs the same number of units at any share, so a smaller one spares nobody and makes everybody wait: 1,000
trials are 20,000 units at .05, 200,000 at .005. It is also the floor that `Constraints` has unless told otherwise.
"""


class Wait(NamedTuple):
    """A variant added later that still lacks evidence: it waits at `parts` for `missing` more trials."""

    parts: int
    missing: int


@dataclass(frozen=True)
class Box:
    """Bounds on the next parts, by place; variants are in the order of their ids.

    `floor` and `ceiling` are the standing limits, in parts; `pinned` maps a place to the parts it must have, `halted`
    and `awaiting` (place → trials it lacks) say why. `step` is the most that anyone may move now, `wider` by how much
    that exceeds the configured step, `relaxed` names what gave way where no weights could meet everything.
    """

    previous: tuple[int, ...]
    floor: tuple[int, ...]
    ceiling: tuple[int, ...]
    pinned: Mapping[int, int]
    halted: frozenset[int]
    awaiting: Mapping[int, int]
    step: int
    unit: int = PARTS
    wider: int = 0
    relaxed: str = ""

    def low(self, k: int) -> int:
        return self.pinned[k] if k in self.pinned else max(self.floor[k], self.previous[k] - self.step)

    def high(self, k: int) -> int:
        return self.pinned[k] if k in self.pinned else min(self.ceiling[k], self.previous[k] + self.step)

    @cached_property
    def bounds(self) -> tuple[list[int], list[int]]:
        """`low` and `high` of every place."""
        low = [max(floor, before - self.step) for floor, before in zip(self.floor, self.previous, strict=True)]
        high = [min(ceiling, before + self.step) for ceiling, before in zip(self.ceiling, self.previous, strict=True)]
        for k, parts in self.pinned.items():
            low[k] = high[k] = parts
        return low, high

    @property
    def feasible(self) -> bool:
        low, high = self.bounds
        return sum(low) <= self.unit <= sum(high) and all(map(le, low, high))

    def nearest(self, proposal: Sequence[float]) -> list[int]:
        """The parts inside the box nearest to `proposal` (shares by place)."""
        return project([share * self.unit for share in proposal], *self.bounds, self.unit)


def make_box(
    variants: Sequence[str],
    previous: Sequence[int],
    constraints: Constraints,
    *,
    halted: Iterable[str] = (),
    awaiting: Mapping[str, Wait] = MappingProxyType({}),
    unit: int = PARTS,
) -> Box:
    """The box for the next move; never empty, as long as one variant is not halted.

    A variant in `awaiting` has the parts it waits at, or its floor where that is more. If the limits leave no weights
    at all (a variant was added, a floor raised), the step is widened to the least that does; if even that does not
    help, what waits for evidence is set free, then pins and ceilings, then floors, and `relaxed` says so.

    Args:
        variants: ids in sorted order; `previous` are their parts, which add up to `unit`.
        unit: what parts add up to.

    Raises:
        InvalidInput: every variant is halted.
    """
    stopped = _places(variants, halted)
    waiting = {k: awaiting[v] for k, v in enumerate(variants) if v in awaiting and k not in stopped} if awaiting else {}
    most_floor = unit // max(1, len(variants) - len(stopped))
    floors = [0.0 if k in stopped else constraints.floor(v) * unit for k, v in enumerate(variants)]
    floor = [min(parts, most_floor) for parts in _whole(floors, unit, up=True)]
    ceiling = _whole([constraints.ceiling(variant) * unit for variant in variants], unit, up=False)
    pins = constraints.pins
    pinned = {k: round(pins[v] * unit) for k, v in enumerate(variants) if v in pins} if pins else {}
    if len(pinned) == len(variants):  # thirds, say, do not add up in whole parts
        pinned = dict(enumerate(project(list(pinned.values()), [0] * len(pinned), [unit] * len(pinned), unit)))
    ceiling = list(map(max, ceiling, floor))
    waits_at = {k: min(max(wait.parts, floor[k]), ceiling[k]) for k, wait in waiting.items()}
    box = Box(
        previous=tuple(previous),
        floor=tuple(floor),
        ceiling=tuple(ceiling),
        pinned={**waits_at, **pinned, **dict.fromkeys(stopped, 0)},
        halted=stopped,
        awaiting={k: wait.missing for k, wait in waiting.items() if k not in pinned},
        step=_down(constraints.max_step, unit),
        unit=unit,
    )
    return _open(box)


def entry_share(variant: str, n_variants: int, constraints: Constraints) -> float:
    """Where a variant added later waits if nobody said where: at `ENTRY_SHARE`, yet never at more than one step or an
    equal share, never below its floor, never above its ceiling.
    """
    share = min(ENTRY_SHARE, constraints.max_step, 1 / n_variants)
    return min(max(share, constraints.floor(variant)), constraints.ceiling(variant))


def _places(variants: Sequence[str], named: Iterable[str]) -> frozenset[int]:
    names = set(named)
    return frozenset(k for k, variant in enumerate(variants) if variant in names) if names else frozenset()


def _open(box: Box) -> Box:
    """`box`, made wider where it is empty: the step first, then, each only if it must, what `relaxed` names."""
    if box.feasible:
        return box
    for candidate in _relaxed(box):
        if replace(candidate, step=box.unit).feasible:
            return _widen(candidate)
    raise InvalidInput("Every variant is halted, so nobody is left to serve.", field="halted")


def _relaxed(box: Box) -> Iterator[Box]:
    yield box
    others = {k: parts for k, parts in box.pinned.items() if k not in box.awaiting}
    yield replace(box, pinned=others, awaiting={}, relaxed="the wait for evidence")
    size = len(box.previous)
    bare = replace(box, pinned=dict.fromkeys(box.halted, 0), awaiting={}, ceiling=(box.unit,) * size)
    yield replace(bare, relaxed="pins and ceilings")
    yield replace(bare, floor=(0,) * size, relaxed="pins, ceilings and floors")


def _widen(box: Box) -> Box:
    """The least step, no smaller than the configured one, with which the box is not empty."""
    if box.feasible:
        return box
    narrow, wide = box.step, box.unit
    while wide - narrow > 1:
        middle = (narrow + wide) // 2
        if replace(box, step=middle).feasible:
            wide = middle
        else:
            narrow = middle
    return replace(box, step=wide, wider=wide - box.step)


def _whole(limits: Sequence[float], unit: int, *, up: bool) -> list[int]:
    """Floors rounded up, or ceilings down, to whole parts; where just that leaves no weights, to the nearest that fit.

    Ceilings of a third for each of three variants say what the weights are, yet 3 × 333,333 is short of a million.
    """
    if up:
        inward = [math.ceil(limit - _ROUNDING) for limit in limits]
    else:
        inward = [math.floor(limit + _ROUNDING) for limit in limits]
    spare = unit - sum(inward)
    if spare >= 0 if up else spare <= 0:
        return inward
    exact = sum(limits)
    if exact > unit + _ROUNDING if up else exact < unit - _ROUNDING:
        return inward
    low = [math.floor(limit + _ROUNDING) for limit in limits]
    return project(limits, low, [math.ceil(limit - _ROUNDING) for limit in limits], unit)


def _down(share: float, unit: int) -> int:
    return math.floor(share * unit + _ROUNDING)
