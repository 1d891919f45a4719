"""`simulate`: what a strategy and its constraints would cost, before anything goes live."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab_worker.cli import options, render

if TYPE_CHECKING:
    from trimtab.schema.constraints import Constraints
    from trimtab.schema.experiment import Objective
    from trimtab.simulation import History, Policy, Summary, World

_LOW, _HIGH = .05, .06


def simulate(
    world: Annotated[
        str, typer.Option(help="delayed, drift, late, novelty, revenue, seasonal or stationary.")
    ] = "stationary",
    variants: Annotated[int | None, typer.Option(min=2, max=1000, help="How many; default: as many as rates.")] = None,
    rates: Annotated[
        str | None, typer.Option(help="Rate of each variant, such as .05,.06; default: .05 to .06 in even steps.")
    ] = None,
    detail: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE, a detail of the world, such as to=3; repeatable."),
    ] = None,
    units: Annotated[int, typer.Option(min=1, help="Units over the whole run.")] = 40_000,
    batch: Annotated[int, typer.Option(min=1, help="Units between two decisions.")] = 1000,
    batch_seconds: Annotated[float, typer.Option(min=1, help="Time a batch takes; cooldowns count it.")] = 3600,
    strategy: Annotated[
        list[str] | None, typer.Option(help="thompson, top_two, heuristic or fixed; repeatable, to compare.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="earn, find-best or mixed; repeatable, to compare.")
    ] = None,
    half_life_seconds: Annotated[
        list[float] | None,
        typer.Option(min=1, help="Age at which outcomes count half; repeatable, to compare; default: never."),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help="safe_defaults, neutral_defaults or explore_defaults; repeatable, to compare."),
    ] = None,
    min_weight: Annotated[float | None, typer.Option(help="Overrides the preset's floor.")] = None,
    max_step: Annotated[float | None, typer.Option(help="Overrides the preset's step.")] = None,
    min_trials: Annotated[int | None, typer.Option(help="Overrides the preset's least evidence.")] = None,
    cooldown_seconds: Annotated[float | None, typer.Option(help="Overrides the preset's rest after a change.")] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Also run a baseline: pooled (which drift fools), additive_floor or uniform; repeatable."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often; means and bands are over runs.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same figures.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one per core.")] = None,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Draw regret and weights into this file.")] = None,
    json: options.Json = False,
) -> None:
    """Try strategies and limits in a world of known truth.

    Regret is what is lost against always serving the best variant. Give --strategy, --objective, --half-life-seconds or
    --preset more than once to compare.
    """
    from dataclasses import replace

    from trimtab.errors import require
    from trimtab.simulation import Summary, draw_comparison, make_world
    from trimtab.simulation import simulate as play

    if plot is not None:
        require("matplotlib", extra="plot")  # before minutes of work, not after
    if batch > units:
        raise typer.BadParameter(
            f"a batch of {batch:,} units is more than the {units:,} of the whole run", param_hint="--batch"
        )
    details = options.pairs(detail or [], "--set", "NAME=VALUE")
    found = make_world(
        world, _rates(rates, variants), steps=units // batch, batch=batch, **_numbers(details, "--set")
    )
    found = replace(found, step_seconds=batch_seconds)
    overrides = {
        "min_weight": min_weight,
        "max_step": max_step,
        "min_trials": min_trials,
        "cooldown_seconds": cooldown_seconds,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    choices: dict[str, list[Any]] = {
        "strategy": strategy or ["thompson"],
        "objective": objective or ["earn"],
        "half_life_seconds": half_life_seconds or [None],
    }
    policies = _policies(choices, preset or [""], given, against or [])
    histories = []
    for policy in policies:
        render.note(f"{policy.name}: {runs} runs of {found.steps} decisions …")
        histories.append(play(found, policy, runs=runs, seed=seed, jobs=jobs or os.cpu_count() or 1))
    summaries = [Summary.of(history) for history in histories]
    if plot is not None:
        draw_comparison(histories, plot)
    if json:
        render.show_json(_document(found, histories, summaries, seed))
    else:
        render.show(*_tables(found, summaries))
        if plot is not None:
            render.say(f"Drawn into {plot}.")


def _rates(text: str | None, variants: int | None) -> list[float]:
    """The rates given, or as many as there are variants, from .05 to .06."""
    if text is None:
        size = variants or 3
        return [_LOW + (_HIGH - _LOW) * k / (size - 1) for k in range(size)]
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers such as .05,.06", param_hint="--rates"
        ) from None
    if variants is not None and variants != len(rates):
        raise typer.BadParameter(f"{len(rates)} rates are given for {variants} variants", param_hint="--rates")
    return rates


def _numbers(details: dict[str, str], option: str) -> dict[str, float]:
    found = {}
    for name, text in details.items():
        try:
            found[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"{name} is {text!r}: give a number", param_hint=option) from None
    return found


def _policies(
    choices: dict[str, list[Any]], presets: list[str], overrides: dict[str, Any], against: list[str]
) -> list[Policy]:
    """Every combination of choices under every preset, then the baselines under the first."""
    from itertools import product

    from trimtab.errors import ConfigurationError
    from trimtab.simulation import BASELINES, Service

    limits = {preset: _constraints(preset, overrides) for preset in presets}
    policies: list[Policy] = []
    for strategy, objective, half_life in product(*choices.values()):
        for preset, constraints in limits.items():
            fades = "" if half_life is None else f"half-life {half_life:g} s"
            name = ", ".join(filter(None, [strategy, "" if objective == "earn" else objective, fades, preset]))
            policies.append(Service(constraints, strategy, name, _objective(objective), half_life))
    for baseline in against:
        if baseline not in BASELINES:
            raise ConfigurationError(f"There is no baseline {baseline!r}; choose one of {', '.join(BASELINES)}.")
        policies.append(BASELINES[baseline](limits[presets[0]]))
    return policies


def _objective(name: str) -> Objective:
    from trimtab.schema.experiment import Objective

    try:
        return Objective(name)
    except ValueError:
        raise typer.BadParameter(
            f"{name!r} is none of {', '.join(Objective)}", param_hint="--objective"
        ) from None


def _constraints(preset: str, overrides: dict[str, Any]) -> Constraints:
    from pydantic import ValidationError

    from trimtab.errors import as_configuration_error
    from trimtab.schema.constraints import Constraints

    try:
        return Constraints.model_validate({**({"preset": preset} if preset else {}), **overrides})
    except ValidationError as error:
        raise as_configuration_error(error, subject="constraints") from None


def _document(world: World, histories: list[History], summaries: list[Summary], seed: int) -> dict[str, Any]:
    """Everything as JSON: the world, and of each policy its summary and mean paths."""
    return {
        "world": {
            "name": world.name,
            "kind": world.outcome.kind.value,
            "variants": {variant: world.rates[:, k].tolist() for k, variant in enumerate(world.variants)},
            "units": world.units,
            "batch": world.batch,
        },
        "seed": seed,
        "uniform_regret": float(world.uniform_regret.sum()),
        "policies": [
            {
                **summary.to_dict(),
                "regret_by_step": history.regret.mean(axis=0).tolist(),
                "weights_by_step": {
                    variant: history.weights[:, :, k].mean(axis=0).tolist() for k, variant in enumerate(world.variants)
                },
            }
            for history, summary in zip(histories, summaries, strict=True)
        ],
    }


def _tables(world: World, summaries: list[Summary]) -> list[Any]:
    numbers = ("regret", "of equal shares'", "final weight", "on top", "majority after", "majority in")
    grid = render.table("policy", *numbers, right=numbers)
    for each in summaries:
        share = "–" if each.share_of_uniform is None else render.percent(each.share_of_uniform)
        after = "–" if each.units_to_majority is None else f"{each.units_to_majority:,} units"
        regret = f"{each.regret:,.1f} ± {each.regret_error:.1f}"
        grid.add_row(
            each.policy,
            regret,
            share,
            render.percent(each.final_weight),
            render.percent(each.on_top),
            after,
            render.percent(each.majority),
        )
    head = (
        f"{world.name} · {world.size} variants · {world.units:,} units in batches of {world.batch:,} · "
        f"{summaries[0].runs} runs · equal shares lose {float(world.uniform_regret.sum()):,.1f}"
    )
    note = (
        f"Final weight, on top (share of runs) and majority (median; share of runs) are those of "
        f"{summaries[0].best}, the best at the end."
    )
    return [render.text(head, "bold"), grid, render.text(note)]
