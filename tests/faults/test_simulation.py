"""EO-21: the commit protocol in a simulated world, its faults drawn from seeds; wrong protocols must be noticed."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import structlog

from faults.reporting import Check
from faults.simulated.mutants import MUTANTS
from faults.simulated.world import Parts, World

SEEDS = int(os.environ.get("TRIMTAB_SEEDS", "2000"))
CHUNK = 50
MUTANT_SEEDS = 300  # each wrong protocol shows itself within the first hundred


@pytest.mark.timeout(600)
def test_no_seed_breaks_the_protocol(check: Check) -> None:
    """Crashes, lost answers, repetitions, lost power between any two commands: exact sums, gapless revisions."""
    chunks = [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]
    # New processes, not forked ones: the parent may have threads, and numpy is no friend of half a copy of them.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context) as pool:
        runs = list(pool.map(run_seeds, chunks))
    violations = [violation for run in runs for violation in run[0]]
    did = sum((run[1] for run in runs), Counter[str]())
    happened = ("crashes", "answers lost", "repetitions", "power losses", "refused")
    assert min(did[fault] for fault in happened) > SEEDS / 10
    observed = f"{len(violations)} in {SEEDS:,} seeds, {', '.join(f'{n:,} {what}' for what, n in sorted(did.items()))}"
    check("EO-21", "0 violations in 2,000 seeds", observed, violations == [])
    check("EO-09", "simulated zombies: refused, double 0", f"{did['refused']:,} refused, double 0", not violations)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_protocol_that_is_wrong_in_one_place_is_noticed(name: str, check: Check) -> None:
    caught = next((seed for seed in range(MUTANT_SEEDS) if violation(seed, MUTANTS[name])), None)
    check("EO-21", f"mutant caught: {name}", f"by seed {caught}", caught is not None)
    assert caught is not None
    assert violation(caught, Parts()) == "", "the right protocol passes where the wrong one fails"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_is_the_same_run_every_time(seed: int) -> None:
    """Else a violation could not be looked at again."""
    traces = []
    for _ in range(2):
        world = World(seed)
        world.run()
        traces.append(world.schedule.trace)
    assert traces[0] == traces[1]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    be_quiet()
    yield
    structlog.configure(**before)


def be_quiet() -> None:
    """What services log of simulated worlds interests nobody."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def run_seeds(seeds: range) -> tuple[list[str], Counter[str]]:
    """Violations found by these seeds, and what happened in their worlds."""
    be_quiet()
    violations, did = [], Counter[str]()
    for seed in seeds:
        world = World(seed)
        try:
            world.run()
        except Exception as error:
            violations.append(f"seed {seed}: {error!r}")
        faults = world.schedule.faults
        did["crashes"] += faults.get("crash before", 0) + faults.get("crash after", 0)
        did["answers lost"] += faults.get("answer lost", 0) + faults.get("no answer, nothing done", 0)
        did["repetitions"] += faults.get("twice", 0)
        did["power losses"] += world.loses_power
        did["commands"] += world.schedule.commands
        did["refused"] += world.store.commits["refused"]
    return violations, did


def violation(seed: int, parts: Parts) -> str:
    """What is wrong with a world made of `parts`; empty if nothing is."""
    try:
        World(seed, parts).run()
    except Exception as error:
        return repr(error)
    return ""
