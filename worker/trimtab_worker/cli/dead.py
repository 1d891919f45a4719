"""Dead letters on the command line: `dead list`, `dead show`, `dead redrive`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.schema.dead_letter import DeadLetterCode
from trimtab_worker.cli import FAILED, options, render, session

if TYPE_CHECKING:
    from trimtab.ports import FiledLetter, PartitionStore
    from trimtab_worker.services.dead import Redriven

app = typer.Typer(help="Look through dead letters, and send them back.", no_args_is_help=True)

Code = Annotated[DeadLetterCode | None, typer.Option("--code", help="Only those refused for this reason.")]
Experiment = Annotated[str | None, typer.Option("--experiment", help="Only those of this experiment.")]
Partition = Annotated[int | None, typer.Option("--partition", min=0, help="Only those of this partition.")]
SHOWN_DETAIL = 90


@app.command("list")
def list_(
    code: Code = None,
    experiment: Experiment = None,
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many of a partition.")] = 20,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """List dead letters, newest first."""
    from trimtab_worker.services.dead import Wanted, browse

    wanted = Wanted(code, experiment)
    stores = _stores(partition)
    found = [(store, filed) for store in stores for filed in islice(browse(store, wanted), limit)]
    if json:
        render.show_json([_document(store, filed) for store, filed in found])
        return
    grid = render.table("letter", "code", "experiment", "events", "why", right=("events",))
    for store, (letter_id, letter) in found:
        name, why = letter.experiment_id or "–", letter.detail[:SHOWN_DETAIL]
        grid.add_row(f"{store.partition}/{letter_id}", letter.code, name, f"{letter.n:,}", render.text(why))
    render.show(grid)
    for store in stores:
        size = store.dead_size()
        dropped = f"; {size.dropped:,} older ones made room" if size.dropped else ""
        render.say(f"Partition {store.partition} keeps {size.letters:,} letters, {size.bytes:,} bytes{dropped}.")


@app.command()
def show(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="As `dead list` names it: PARTITION/ID.")],
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Show a dead letter with what it quotes."""
    from trimtab.ports import FiledLetter
    from trimtab_worker.services.dead import find

    store, letter_id = _named(letter)
    found = find(store, letter_id)
    if json:
        render.show_json(_document(store, FiledLetter(letter_id, found)))
        return
    rows = f", rows {found.rows}" if found.rows else ""
    render.say(f"{found.code}: {found.detail}")
    render.say(f"entry {found.source}{rows}; {found.n:,} events of experiment {found.experiment_id or 'unknown'}")
    render.say(found.raw if found.complete else f"{found.raw} …")


@app.command()
def redrive(
    letters: Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="PARTITION/ID each.")] = None,
    code: Code = None,
    experiment: Experiment = None,
    partition: Partition = None,
    every: Annotated[bool, typer.Option("--all", help="All, where neither letters nor filters are given.")] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Send dead letters back to the log, each once.

    Do it once their cause is removed: the variant added, the experiment started, the metric corrected. What is still
    wrong, or too late by now, becomes a letter again. Entries that killed their reader go back under --code crashed
    only. Exit code 1 says that some could not go back.
    """
    from trimtab_worker.services.dead import Redriven, Wanted, browse
    from trimtab_worker.services.dead import redrive as service

    if not letters and not every and code is None and experiment is None and partition is None:
        raise typer.BadParameter("name letters, a filter (--code, --experiment, --partition), or --all")
    done, crashed = Redriven(), code is DeadLetterCode.CRASHED
    if letters:
        for store, letter_id in map(_named, letters):
            _add(done, service(store, [letter_id], crashed=crashed))
    else:
        for store in _stores(partition):
            ids = [filed.id for filed in browse(store, Wanted(code, experiment))]
            _add(done, service(store, reversed(ids), crashed=crashed))
    if json:
        render.show_json({"letters": done.letters, "events": done.events, "gone": done.gone, "stayed": done.stayed})
    else:
        gone = f"; {done.gone:,} were no longer there" if done.gone else ""
        render.say(f"{done.letters:,} letters with {done.events:,} events went back to the log{gone}.")
        for why, n in done.stayed.items():
            render.say(f"{n:,} stayed: {why}.")
    if done.stayed:
        raise typer.Exit(FAILED)


def _stores(partition: int | None) -> list[PartitionStore]:
    services = session.services()
    numbers = range(services.partition_count()) if partition is None else [partition]
    return [services.partition(number) for number in numbers]


def _named(letter: str) -> tuple[PartitionStore, str]:
    """The partition and the id of `PARTITION/ID`."""
    partition, _, letter_id = letter.partition("/")
    milliseconds, _, number = letter_id.partition("-")
    if not all(part.isdecimal() and part.isascii() for part in (partition, milliseconds, number)):
        raise typer.BadParameter(f"{letter!r} is not of the form PARTITION/ID, such as 0/1790000000000-0")
    return session.services().partition(int(partition)), letter_id


def _document(store: PartitionStore, filed: FiledLetter) -> dict[str, object]:
    return {"letter": f"{store.partition}/{filed.id}", **filed.letter.model_dump(mode="json")}


def _add(total: Redriven, more: Redriven) -> None:
    total.letters += more.letters
    total.events += more.events
    total.gone += more.gone
    total.stayed += more.stayed
