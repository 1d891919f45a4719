"""Many windows in a row: weights learn while base rates drift, and every step is explained.

    python deploy/examples/multi_window.py --rates .05,.08,.06 --world drift --windows 30 --out build/multi_window

Writes `weights.csv` (a row per window and variant), `explanations.jsonl` (a decision per line) and `weights.png` into
the folder. Needs `pip install 'trimtab[engine,plot]'`; `--no-plot` does without the latter.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trimtab import Constraints, TrimtabError
from trimtab.engine import Result
from trimtab.errors import as_configuration_error
from trimtab.simulation import History, Service, draw_weights, make_world, simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and name them; wrong values are one sentence and exit code 1."""
    chosen = _options().parse_args(arguments)
    try:
        written = run(chosen)
    except (TrimtabError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write("".join(f"{file}\n" for file in written))
    return 0


def run(chosen: argparse.Namespace) -> list[Path]:
    """One run of the closed loop; returns the files written."""
    rates = [float(rate) for rate in chosen.rates.split(",")]
    world = make_world(chosen.world, rates, steps=chosen.windows, batch=chosen.units)
    policy = Service(_constraints(chosen), chosen.strategy)
    history = simulate(world, policy, seed=chosen.seed, keep_results=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    table, lines, picture = (chosen.out / name for name in ("weights.csv", "explanations.jsonl", "weights.png"))
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["window", "epoch", "variant", "true_rate", "units", "total", "weight", "next"])
        writer.writeheader()
        writer.writerows(_rows(history))
    with lines.open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(_explained(n, result))}\n" for n, (result,) in enumerate(history.results))
    if chosen.no_plot:
        return [table, lines]
    draw_weights(history, picture)
    return [table, lines, picture]


def _rows(history: History) -> Iterator[dict[str, Any]]:
    """What each variant met in each window, and what it gets in the next one."""
    world, weights = history.world, history.weights[0]
    for window in range(world.steps):
        following = weights[window + 1] if window + 1 < world.steps else history.weights_after[0]
        for k, variant in enumerate(world.variants):
            yield {
                "window": window,
                "epoch": int(history.epochs[0, window]),
                "variant": variant,
                "true_rate": round(float(world.rates[window, k]), 9),
                "units": int(history.drawn.n[0, window, k]),
                "total": int(history.drawn.total[0, window, k]) / world.outcome.scale,
                "weight": float(weights[window, k]),
                "next": float(following[k]),
            }


def _explained(window: int, result: Result) -> dict[str, Any]:
    return {
        "window": window,
        "outcome": result.outcome.value,
        "sentence": result.sentence,
        "would_move": result.would_move,
        "reasons": [reason.model_dump(mode="json") for reason in result.reasons],
        "posterior": {variant: each.model_dump(mode="json") for variant, each in result.posterior.items()},
        "proposal": result.proposal,
        "verdicts": [verdict.model_dump(mode="json") for verdict in result.verdicts],
        "parts": result.parts,
    }


def _constraints(chosen: argparse.Namespace) -> Constraints:
    """The preset with every limit given on top."""
    names = ("min_trials", "max_step", "min_weight", "cooldown_seconds")
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    try:
        return Constraints.model_validate({"preset": chosen.preset, **given})
    except ValidationError as problem:
        raise as_configuration_error(problem, subject="constraints") from None


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Let weights learn over many windows, and explain every step.")
    parser.add_argument("--world", default="drift", help="delayed, drift, late, novelty, revenue, seasonal, stationary")
    parser.add_argument("--rates", default=".05,.08,.06", help="true rates at the start")
    parser.add_argument("--windows", type=int, default=30, help="how many; one decision after each")
    parser.add_argument("--units", type=int, default=1000, help="units in a window, which takes an hour")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same files")
    parser.add_argument("--strategy", default="thompson", help="thompson, top_two, heuristic or fixed")
    parser.add_argument("--preset", default="neutral_defaults", help="neutral_, safe_ or explore_defaults")
    parser.add_argument("--min-trials", type=int, help="trials every variant needs before weights move")
    parser.add_argument("--max-step", type=float, help="most that a weight may change")
    parser.add_argument("--min-weight", type=float, help="least weight of every variant")
    parser.add_argument("--cooldown-seconds", type=float, help="least time between two changes")
    parser.add_argument("--out", type=Path, default=Path("multi_window"), help="folder for the files")
    parser.add_argument("--no-plot", action="store_true", help="no picture")
    return parser


if __name__ == "__main__":
    sys.exit(main())
