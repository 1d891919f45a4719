"""Decisions: `explain` them, `recompute` now, and a person's orders `hold`, `resume` and `halt`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab_worker.cli import options, render, session

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trimtab.schema.decision import Act, Decision


def explain(
    experiment: options.ExperimentId,
    decision: Annotated[int | None, typer.Option("--decision", min=1, help="Number; default: the newest.")] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Explain a decision.

    What was known, what was proposed, what bound it, what came out, and what would have to change.
    """
    entry = session.control().explain(experiment, decision)
    if json:
        render.show_json(entry.model_dump(mode="json"))
    else:
        render.show(*(_order(entry) if entry.kind == "act" else picture(entry)))


def recompute(
    experiment: options.ExperimentId,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, and publish nothing.")] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Decide now, and publish the decision."""
    decision = session.services().reallocate.recompute(experiment, dry_run=dry_run, attempts=5)
    if json:
        render.show_json(decision.model_dump(mode="json"))
        return
    render.show(*picture(decision, number=None if dry_run else decision.decision_id))
    if dry_run:
        render.say("A dry run: nothing was published.")


def hold(
    experiment: options.ExperimentId,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")],
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Keep the weights as they are until `resume`.

    Outcomes are still counted.
    """
    revision = session.control().hold(experiment, reason=reason, by=by)
    render.say(f"Holding {experiment}: revision {revision}.")


def resume(
    experiment: options.ExperimentId,
    reason: options.Reason = "",
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Let weights move again, and halted variants return."""
    revision = session.control().resume(experiment, reason=reason, by=by)
    render.say(f"Resumed {experiment}: revision {revision}.")


def halt(
    experiment: options.ExperimentId,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")],
    variant: Annotated[str | None, typer.Option("--variant", help="Default: every variant but control.")] = None,
    by: options.By = None,
    data_dir: options.DataDir = None,
) -> None:
    """Take a variant out at once, until `resume`."""
    revision = session.control().halt(experiment, variant, reason=reason, by=by)
    what = variant or "every variant but control"
    render.say(f"Halted {what} of {experiment}: revision {revision}.")


def picture(decision: Decision, number: int | None = -1) -> list[RenderableType]:
    """A decision in the order in which it came about; `number` None stands for one that was not published."""
    title = "dry run" if number is None else f"decision {decision.decision_id}"
    head = (
        f"{decision.experiment_id} · {title} · {decision.outcome} · epoch {decision.epoch} · "
        f"{render.instant(decision.decided_at)}"
    )
    if decision.count > 1:
        head += f" · repeated {decision.count} times since {render.instant(decision.first_decided_at)}"
    things = [render.text(head, "bold"), render.text(decision.sentence), _known(decision), _way(decision)]
    if decision.basis:
        things.insert(2, render.text(decision.basis))
    sentences = [reason.sentence for reason in decision.reasons] + [verdict.sentence for verdict in decision.verdicts]
    things += [render.text(f"· {line}") for line in sentences if line != decision.sentence]
    things.append(render.text(f"To move (further): {decision.would_move}", "italic"))
    return things


def _known(decision: Decision) -> RenderableType:
    """What was known of each variant."""
    right = ("trials", "sum", "pooled mean", "effect", "± sd", "P(best)")
    grid = render.table("variant", *right, title="What was known", right=right)
    known = decision.inputs
    for variant, trials, total in zip(known.variants, known.trials, known.successes, strict=True):
        belief = decision.posterior.get(variant)
        grid.add_row(
            f"{variant} (control)" if variant == known.control else variant,
            f"{trials:,}",
            render.number(total),
            f"{total / trials:.4g}" if trials else "–",
            f"{belief.effect_size:+.4g}" if belief else "–",
            f"{belief.effect_sd:.2g}" if belief else "–",
            render.probability(belief.p_best if belief else None),
        )
    return grid


def _way(decision: Decision) -> RenderableType:
    """From the weights before, over the proposal and what bound it, to the weights after."""
    right = ("before", "proposed", "after", "moved")
    grid = render.table("variant", *right, "bound by", title="What was decided", right=right)
    for variant in decision.inputs.variants:
        before, after = decision.inputs.previous.get(variant, 0), decision.parts.get(variant, 0)
        bounds = [verdict.code.value for verdict in decision.verdicts if verdict.variant in (variant, None)]
        grid.add_row(
            variant,
            render.share(before),
            render.percent(decision.proposal[variant]) if variant in decision.proposal else "–",
            render.share(after),
            f"{(after - before) / 1e4:+.1f} pp" if after != before else "·",
            ", ".join(dict.fromkeys(bounds)) or "–",
        )
    return grid


def _order(act: Act) -> list[RenderableType]:
    head = (
        f"{act.experiment_id} · entry {act.decision_id} · {act.act} by {act.by} · epoch {act.epoch} · "
        f"{render.instant(act.decided_at)}"
    )
    grid = render.table("variant", "weight", "", right=("weight",))
    for variant, parts in act.parts.items():
        grid.add_row(variant, render.share(parts), render.bar(parts / 1e6))
    return [render.text(head, "bold"), render.text(act.sentence), grid]
