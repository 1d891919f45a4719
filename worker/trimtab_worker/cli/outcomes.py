"""Outcomes in: `send` JSON lines, `replay` a file of a real log, `stream-key` for producers in other languages."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.errors import InvalidInput, PublishFailed
from trimtab_worker.cli import FAILED, options, render, session

if TYPE_CHECKING:
    from trimtab.client.publisher import Publisher
    from trimtab_worker.services.replay import Plan, Replayed
    from trimtab_worker.services.replay import Progress as Tell

PATIENCE_SECONDS = 30.0  # a server that confirms nothing for so long is full, or gone
SHOWN_FAULTS = 20  # more would scroll the first one, which mostly explains the rest, out of sight


def send(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON lines, one outcome event each; - is stdin.")],
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Send outcome events from JSON lines.

    Bad lines are reported and the others sent; exit code 1 says that there were any. Running it again sends the
    events again: with an event_id, or in an experiment that counts units, they count once.
    """
    from trimtab.client.publisher import Publisher

    bad = 0
    services = session.services()
    key = services.signing_key
    with Publisher(services.addresses.redis_url, signing_key=key.text() if key else None) as publisher:
        for number, line in _lines(file):
            try:
                publisher.publish(_event(line), timeout=PATIENCE_SECONDS)
            except InvalidInput as error:
                bad += 1
                if bad <= SHOWN_FAULTS:
                    render.note(f"line {number}: {error}")
        _deliver(publisher)
        sent = publisher.sent
    if bad > SHOWN_FAULTS:
        render.note(f"… and {bad - SHOWN_FAULTS} more bad lines")
    if json:
        render.show_json({"sent": sent, "bad": bad})
    else:
        render.say(f"Sent {sent:,} events; {bad:,} bad lines were left out." if bad else f"Sent {sent:,} events.")
    if bad:
        raise typer.Exit(FAILED)


def _deliver(publisher: Publisher) -> None:
    """Wait while the server goes on confirming.

    Raises:
        PublishFailed: it has confirmed nothing for a while.
    """
    while publisher.pending:
        before = publisher.sent
        try:
            publisher.flush(PATIENCE_SECONDS)
        except PublishFailed:
            if publisher.sent == before:
                raise


def _lines(source: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    if source == "-":
        yield from ((number, line) for number, line in enumerate(sys.stdin, 1) if line.strip())
        return
    try:
        # Bytes that are no UTF-8 spoil one line, not the file.
        with Path(source).open(encoding="utf-8", errors="replace") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except OSError as error:
        raise InvalidInput(f"{source} cannot be read: {error.strerror or error}.") from error


def _event(line: str) -> dict[str, object]:
    import json

    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"not JSON ({error}).") from error
    if not isinstance(event, dict):
        raise InvalidInput(f"a JSON {type(event).__name__}, where an event is an object.")
    return event


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV or Parquet, one row per trial.")],
    experiment: Annotated[str, typer.Option(help="Id of the experiment; it must be running.")],
    variant_column: Annotated[str, typer.Option(help="Column that names each row's variant.")],
    metric: Annotated[list[str], typer.Option(metavar="NAME=COLUMN", help="A metric and its column; repeatable.")],
    unit_column: Annotated[str | None, typer.Option(help="Column of unit ids; default: every row is a unit.")] = None,
    time_column: Annotated[
        str | None, typer.Option(help="Column of instants: RFC 3339, seconds or milliseconds; default: now.")
    ] = None,
    epoch_column: Annotated[str | None, typer.Option(help="Column of the epochs that served the rows.")] = None,
    map_variant: Annotated[
        list[str] | None, typer.Option(metavar="VALUE=ID", help="A value of the variant column; repeatable.")
    ] = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Import a real log, a CSV or Parquet file.

    Running it again counts nothing twice. Rows with missing values are left out and reported; a wrong column or
    variant is said before anything is sent.
    """
    from trimtab_worker.services import replay as service

    mapping = service.Mapping(
        variant=variant_column,
        metrics=options.pairs(metric, "--metric", "NAME=COLUMN"),
        unit=unit_column,
        time=time_column,
        epoch=epoch_column,
        variants=options.pairs(map_variant or [], "--map-variant", "VALUE=ID"),
    )
    published = session.control().show(experiment)
    log = session.store_of(experiment)
    with _progress("reading") as tell:
        plan = service.examine(file, mapping, published, tell)
    with _progress("sending") as tell:
        done = service.send(plan, log, tell)
    _report(plan, done, as_json=json)
    if any(skipped.fault for skipped in plan.skipped):
        raise typer.Exit(FAILED)


@contextmanager
def _progress(what: str) -> Iterator[Tell | None]:
    """A bar on stderr where somebody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, rows: progress.update(task, completed=done, total=rows or None)


def _report(plan: Plan, done: Replayed, *, as_json: bool) -> None:
    if as_json:
        render.show_json(
            {
                "experiment_id": plan.experiment.id,
                "rows": plan.rows,
                "usable": plan.usable,
                "sent": done.sent,
                "already_counted": done.known,
                "skipped": [asdict(skipped) for skipped in plan.skipped],
                "producer": plan.producer,
            }
        )
        return
    left_out = plan.rows - plan.usable
    render.say(f"{plan.rows:,} rows read, {left_out:,} of them left out:" if left_out else f"{plan.rows:,} rows read.")
    for skipped in plan.skipped:
        mark = "✗" if skipped.fault else "·"
        render.say(f"  {mark} {skipped.n:,} × {skipped.reason} (first in row {skipped.first_row:,})")
    known = f"; {done.known:,} had been counted by an earlier run" if done.known else ""
    render.say(f"{done.sent:,} outcomes sent{known}. See: trimtab stats {plan.experiment.id}")


def stream_key(experiment: options.ExperimentId, data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Print the stream for producers in other languages.

    They `XADD` one JSON event each, under the field `event`.
    """
    control = session.control()
    control.show(experiment)
    key = control.stream_key(experiment)
    if json:
        render.show_json({"experiment_id": experiment, "stream": key, "field": "event"})
    else:
        render.say(key)
