"""Shares and layouts for tests of whatever lays variants out: hypothesis strategies, and what a layout owns."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from itertools import pairwise

from hypothesis import strategies as st

from trimtab.schema.allocation import Slice
from trimtab.schema.base import PARTS

IDS = [f"v{number}" for number in range(8)]


@st.composite
def shares(draw: st.DrawFn) -> dict[str, float]:
    """Shares of some of eight variants, zero among them, adding up to 1."""
    raw = draw(st.dictionaries(st.sampled_from(IDS), st.floats(0, 1), min_size=1))
    total = sum(raw.values())
    return {variant: value / total for variant, value in raw.items()} if total > 1e-9 else {next(iter(raw)): 1.0}


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Slice, ...]:
    """Any layout: the million cut at random places, each slice owned by anybody."""
    cuts = sorted(draw(st.sets(st.integers(1, PARTS - 1), max_size=20)) | {0, PARTS})
    return tuple((draw(st.sampled_from(IDS)), start, end) for start, end in pairwise(cuts))


def owned(ranges: tuple[Slice, ...]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for variant, start, end in ranges:
        parts[variant] = parts.get(variant, 0) + end - start
    return parts


def total_variation(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    return sum(max(0, after.get(v, 0) - before.get(v, 0)) for v in {*before, *after})


def weights_at_random(rng: random.Random, variants: Iterable[str], floor: float) -> dict[str, float]:
    """Exponential draws above a floor, adding up to 1: any weights at all, dominant ones among them."""
    draws = {variant: rng.expovariate(1) for variant in variants}
    total = sum(draws.values())
    return {variant: floor + (1 - floor * len(draws)) * draw / total for variant, draw in draws.items()}
