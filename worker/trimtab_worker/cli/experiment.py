"""`trimtab experiment …`: what is compared, and where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab_worker.cli import definition, options, render, session

if TYPE_CHECKING:
    from trimtab.ports import Published
    from trimtab.schema.experiment import Experiment, Metric

app = typer.Typer(help="Create, list, show and change experiments.", no_args_is_help=True, rich_markup_mode=None)

File = Annotated[str | None, typer.Argument(metavar="FILE", help="JSON or TOML; - reads standard input.")]


@app.command()
def create(
    file: File = None,
    id: Annotated[str | None, typer.Option("--id", help="Without a FILE: the experiment's id.")] = None,
    variants: Annotated[str | None, typer.Option(help="Without a FILE: ids, comma-separated; control first.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Without a FILE: NAME[:KIND], repeatable, the primary one first.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Without a FILE: safe_defaults, neutral_defaults or explore_defaults.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Without a FILE: thompson, top_two, heuristic, or fixed for an A/B test.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="Without a FILE: earn (the default), find-best or mixed: what traffic is for.")
    ] = None,
    half_life_seconds: Annotated[
        float | None, typer.Option(help="Without a FILE: age at which outcomes count half for weights; default: never.")
    ] = None,
    assignment_ratio: Annotated[
        str | None, typer.Option(help="Of an A/B test: VARIANT=SHARE,VARIANT=SHARE; default: equal shares.")
    ] = None,
    min_sample_size: Annotated[
        int | None, typer.Option(help="Of an A/B test: units each group needs before a verdict; default: 1,000.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Create an experiment from a file, or from a few flags."""
    more = {
        "constraints": preset,
        "strategy": strategy,
        "objective": objective,
        "half_life_seconds": half_life_seconds,
        "assignment_ratio": definition.parse_ratio(assignment_ratio),
        "min_sample_size": min_sample_size,
    }
    if file is None:
        document = definition.quick_definition(id, variants, metric or [], more)
    elif id or variants or metric or any(value is not None for value in more.values()):
        raise typer.BadParameter("give either a FILE or options that describe the experiment, not both")
    else:
        document = definition.read_document(file)
    control = session.control()
    experiment = control.create(document, partitions=session.services().settings.partitions)
    if start:
        control.start(experiment.id)
    if json:
        render.show_json(_document(control.show(experiment.id)))
    elif start:
        render.say(f"Created and started {experiment.id}.")
    else:
        render.say(f"Created {experiment.id} as a draft; next: trimtab experiment start {experiment.id}")


@app.command("list")
def list_(data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """List all experiments with status, revision, epoch and weights."""
    found = session.control().list()
    if json:
        render.show_json([_document(published) for published in found])
        return
    if not found:
        render.say("There are no experiments yet; create one: trimtab experiment create FILE")
        return
    grid = render.table("experiment", "status", "revision", "epoch", "weights", right=("revision", "epoch"))
    for published in found:
        parts = published.parts
        order = [variant for variant in published.experiment.variant_ids if variant in parts]
        grid.add_row(
            published.experiment.id,
            _status(published),
            str(published.revision),
            str(_epoch(published) or "–"),
            render.shares({variant: parts[variant] for variant in order}) or "none yet",
        )
    render.show(grid)


@app.command()
def show(experiment: options.ExperimentId, data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Show an experiment: definition, status, weights."""
    published = session.control().show(experiment)
    if json:
        render.show_json(_document(published))
        return
    render.show(_overview(published))
    render.show(_variants(published))
    if published.allocation:
        render.show(render.text(published.allocation.reason))


@app.command()
def start(
    experiment: options.ExperimentId,
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Publish the initial weights and begin to count outcomes."""
    revision = session.control().start(experiment, reason=reason, by=by)
    render.say(f"Started {experiment}: revision {revision}.")


@app.command()
def stop(
    experiment: options.ExperimentId,
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Stop counting and deciding; the weights stay in force."""
    revision = session.control().stop(experiment, reason=reason, by=by)
    render.say(f"Stopped {experiment}, its weights stay in force: revision {revision}.")


@app.command()
def conclude(
    experiment: options.ExperimentId,
    variant: Annotated[str, typer.Argument(help="The variant everybody sees from now on.")],
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """End the experiment: everybody sees one variant from now on."""
    revision = session.control().conclude(experiment, variant, reason=reason, by=by)
    render.say(f"Concluded {experiment} with {variant} for everybody: revision {revision}.")


@app.command()
def update(
    experiment: options.ExperimentId,
    file: File = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="FIELD=VALUE, such as constraints.max_step=0.05; repeatable.")
    ] = None,
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Change fields of an experiment.

    Constraints that are not named keep their values.
    """
    changes = definition.read_document(file) if file else {}
    for name, value in options.pairs(set_ or [], "--set", "FIELD=VALUE").items():
        _place(changes, name.split("."), options.json_value(value))
    if not changes:
        raise typer.BadParameter("give a FILE with the fields to change, or --set FIELD=VALUE")
    revision = session.control().update(experiment, changes, reason=reason, by=by)
    render.say(f"Changed {', '.join(sorted(changes))} of {experiment}: revision {revision}.")


@app.command("add-variant")
def add_variant(
    experiment: options.ExperimentId,
    variant: Annotated[str, typer.Argument(help="Id of the new variant; never one that was used before.")],
    weight: Annotated[
        float | None, typer.Option(help="Share at which it waits for its evidence; default: .05, or its floor if more.")
    ] = None,
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Add a variant to a live experiment; it waits at a small share for its evidence."""
    revision = session.control().add_variant(experiment, variant, weight=weight, reason=reason, by=by)
    render.say(f"Added {variant} to {experiment}, to enter with the next decision: revision {revision}.")


@app.command("retire-variant")
def retire_variant(
    experiment: options.ExperimentId,
    variant: Annotated[str, typer.Argument(help="The variant that nobody is to see any more.")],
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Serve a variant to nobody any more, at once and for good."""
    revision = session.control().retire_variant(experiment, variant, reason=reason, by=by)
    render.say(f"Retired {variant} from {experiment}, its traffic goes to the others: revision {revision}.")


def _place(changes: dict[str, Any], path: list[str], value: Any) -> None:
    for step in path[:-1]:
        inner = changes.setdefault(step, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"{step} is given both as a whole and in parts", param_hint="--set")
        changes = inner
    changes[path[-1]] = value


def _document(published: Published) -> dict[str, Any]:
    return {
        "experiment": published.experiment.model_dump(mode="json"),
        "status": published.status.value,
        "revision": published.revision,
        "epoch": _epoch(published),
        "weights": published.parts,
        "halted": list(published.halted),
        "paused": published.paused,
        "decision_id": published.decision_id,
        "changed_at": published.changed_at,
        "allocation": published.allocation.model_dump(mode="json") if published.allocation else None,
    }


def _epoch(published: Published) -> int | None:
    return published.allocation.epoch if published.allocation else None


def _status(published: Published) -> str:
    return f"{published.status} ({published.paused})" if published.paused else str(published.status)


def _overview(published: Published) -> Any:
    experiment, limits = published.experiment, published.experiment.constraints
    grid = render.table("", "", title=experiment.id)
    grid.show_header = False
    if experiment.description:
        grid.add_row("description", render.text(experiment.description))
    grid.add_row("status", _status(published))
    grid.add_row("revision", f"{published.revision}, epoch {_epoch(published) or 'none yet'}")
    grid.add_row("metrics", "\n".join(map(_metric, experiment.metrics)))
    half_life = experiment.half_life_seconds
    forgets = "" if half_life is None else f", outcomes count half after {half_life:g} s"
    grid.add_row(
        "strategy",
        f"{experiment.strategy}, objective {experiment.objective}, every {experiment.recompute_seconds:g} s, "
        f"per {experiment.unit}{forgets}",
    )
    grid.add_row(
        "constraints",
        f"min_weight {limits.min_weight:g}, max_step {limits.max_step:g}, min_trials {limits.min_trials:,}, "
        f"cooldown {limits.cooldown_seconds:g} s",
    )
    if experiment.strategy == "fixed":
        grid.add_row("A/B test", _ab_test(experiment))
    grid.add_row("last change", render.instant(published.changed_at))
    return grid


def _ab_test(experiment: Experiment) -> str:
    shares = ", ".join(f"{variant} {share:.4g}" for variant, share in (experiment.assignment_ratio or {}).items())
    return f"assignment ratio {shares or 'equal'}, at least {experiment.least_units:,} {experiment.unit}s a group"


def _metric(metric: Metric) -> str:
    role = " (primary)" if metric.primary else " (guardrail)" if metric.harm_limit is not None else ""
    return f"{metric.name}: {metric.kind}, {metric.direction}{role}"


def _variants(published: Published) -> Any:
    grid = render.table("variant", "weight", "", "", right=("weight",))
    for variant in published.experiment.variants:
        parts = published.parts.get(variant.id, 0)
        remarks = ["control"] if variant.id == published.experiment.control else []
        remarks += ["halted"] if variant.id in published.halted else []
        remarks += [variant.description] if variant.description else []
        grid.add_row(variant.id, render.share(parts), render.bar(parts / 1e6), render.text(", ".join(remarks)))
    return grid
