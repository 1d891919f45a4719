"""One window from end to end: simulated traffic in, the next weights out as JSON.

    python deploy/examples/end_to_end.py --rates a=.05,b=.08 --units 4000 --preset explore_defaults

A window of units meets two or more variants under the previous weights, `Engine.compute` turns the counts into the next
weights inside the constraints, and what is printed says which of them bound. Needs `pip install 'trimtab[engine]'`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import ValidationError

from trimtab import Constraints, Engine, Observation, TrimtabError
from trimtab.errors import as_configuration_error
from trimtab.simulation import World


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document; wrong values are one sentence and exit code 1."""
    chosen = _options().parse_args(arguments)
    try:
        document = run(chosen)
    except (TrimtabError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(f"{json.dumps(document, indent=2)}\n")
    return 0


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """Simulate the window and decide."""
    rates = _shares(chosen.rates)
    previous = _shares(chosen.previous) if chosen.previous else dict.fromkeys(rates, 1 / len(rates))
    observations = _window(rates, previous, chosen.units, chosen.seed)
    result = Engine(chosen.strategy).compute(
        observations=observations,
        previous_weights=previous,
        constraints=_constraints(chosen),
        seed=chosen.seed,
        last_updated_at_epoch_s=None if chosen.seconds_since_change is None else 0.0,
        now_epoch_s=chosen.seconds_since_change,
    )
    return {
        "observations": {name: asdict(seen) for name, seen in observations.items()},
        "previous_weights": previous,
        "weights": result.weights,
        "explanation": result.explanation.to_dict(),
    }


def _window(rates: Mapping[str, float], previous: Mapping[str, float], units: int, seed: int) -> dict[str, Observation]:
    world = World("window", np.array([list(rates.values())]), units)
    sums = world.draw(0, np.array([previous[name] for name in rates]), np.random.default_rng(seed))[0]
    counts = zip(rates, sums.n.tolist(), sums.total.tolist(), strict=True)
    return {name: Observation(trials=n, successes=successes) for name, n, successes in counts}


def _constraints(chosen: argparse.Namespace) -> Constraints:
    """The preset, or the defaults, with every limit given on top."""
    names = ("min_trials", "max_step", "min_weight", "cooldown_seconds")
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    preset = {"preset": chosen.preset} if chosen.preset else {}
    try:
        return Constraints.model_validate({**preset, **given})
    except ValidationError as problem:
        raise as_configuration_error(problem, subject="constraints") from None


def _shares(text: str) -> dict[str, float]:
    """`a=.05,b=.06` as a dictionary."""
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): float(value) for name, _, value in pairs}


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Simulate one window and print the next weights.")
    parser.add_argument("--rates", default="a=.05,b=.08", help="true rate of each variant")
    parser.add_argument("--previous", help="weights in force, such as a=.5,b=.5; default: equal ones")
    parser.add_argument("--units", type=int, default=4000, help="units in the window")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same window")
    parser.add_argument("--strategy", default="thompson", help="thompson, top_two, heuristic or fixed")
    parser.add_argument("--preset", help="safe_defaults, neutral_defaults or explore_defaults")
    parser.add_argument("--min-trials", type=int, help="trials every variant needs before weights move")
    parser.add_argument("--max-step", type=float, help="most that a weight may change")
    parser.add_argument("--min-weight", type=float, help="least weight of every variant")
    parser.add_argument("--cooldown-seconds", type=float, help="least time between two changes")
    parser.add_argument("--seconds-since-change", type=float, help="how long ago weights changed; default: never")
    return parser


if __name__ == "__main__":
    sys.exit(main())
