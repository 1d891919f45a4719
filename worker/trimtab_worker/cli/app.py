"""The commands, gathered; each group lives in a file of its own."""

from __future__ import annotations

import typer

from trimtab_worker.cli import (
    dead,
    decisions,
    experiment,
    export,
    keys,
    metrics,
    operate,
    outcomes,
    report,
    serve,
    simulate,
    weights,
)

# typer carries its own click; the base of its public BadParameter is the usage error of whichever click it uses.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="trimtab",
    help="Outcome events in, guarded and explained weights out.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(operate.up)
app.command()(operate.demo)
app.command()(serve.serve)
app.add_typer(experiment.app, name="experiment")
app.command()(outcomes.send)
app.command()(outcomes.replay)
app.command("stream-key")(outcomes.stream_key)
app.command()(weights.weights)
app.command()(weights.stats)
app.command()(export.export)
app.command()(report.report)
app.command()(decisions.explain)
app.command()(decisions.recompute)
app.command()(decisions.hold)
app.command()(decisions.resume)
app.command()(decisions.halt)
app.command()(simulate.simulate)
app.add_typer(dead.app, name="dead")
app.add_typer(keys.app, name="keys")
app.command()(operate.verify)
app.command()(operate.rebuild)
app.command("accept-loss")(operate.accept_loss)
app.command()(metrics.metrics)
app.command()(operate.doctor)
app.command()(operate.health)
