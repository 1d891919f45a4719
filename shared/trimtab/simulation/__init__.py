"""Worlds with known truth, and policies that learn in them: what will these constraints cost, and how soon?

::

    World ──► weights ──► draw ──► sums by epoch ──► policy ──► weights …      ──► History ──► Summary, picture
    catalogue             outcomes                   Service = estimate + decide, or a baseline

`outcomes` are the metrics' distributions, `worlds` what is true, `catalogue` the worlds one meets; `policies` choose,
`loop` plays, `summary` counts, `picture` draws (with the extra `plot`). Nothing here knows a clock or global
randomness: a seed and a world give the same history everywhere.
"""

from trimtab.simulation.catalogue import WORLDS, make_world
from trimtab.simulation.loop import History, simulate
from trimtab.simulation.outcomes import Binary, Continuous, Count, Outcome, Revenue
from trimtab.simulation.picture import draw_comparison, draw_weights
from trimtab.simulation.policies import (
    BASELINES,
    AdditiveFloor,
    Choice,
    Policy,
    PooledThompson,
    Seen,
    Service,
    Uniform,
)
from trimtab.simulation.summary import Summary
from trimtab.simulation.sums import Sums
from trimtab.simulation.worlds import World

__all__ = [
    "BASELINES",
    "WORLDS",
    "AdditiveFloor",
    "Binary",
    "Choice",
    "Continuous",
    "Count",
    "History",
    "Outcome",
    "Policy",
    "PooledThompson",
    "Revenue",
    "Seen",
    "Service",
    "Summary",
    "Sums",
    "Uniform",
    "World",
    "draw_comparison",
    "draw_weights",
    "make_world",
    "simulate",
]
