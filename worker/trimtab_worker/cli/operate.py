"""Running it: `up`, `demo`, and looking after it: `rebuild`, `doctor`, `health`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.errors import LogGap
from trimtab_worker.cli import FAILED, options, render, session

if TYPE_CHECKING:
    from trimtab.fold import PartitionState
    from trimtab.ports import PartitionStore
    from trimtab_worker.cli.system import System
    from trimtab_worker.services.doctor import Surroundings

WATCH_SECONDS = 0.2


def up(
    data_dir: options.DataDir = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the data server; 0 takes a free one.")] = 0,
) -> None:
    """Run everything in the foreground.

    Data server, broker, ingest and decide workers, beat; what dies is restarted; Ctrl-C stops all. With REDIS_URL
    set, workers and beat run against that server.
    """
    from trimtab_worker.cli.system import System

    with interrupted() as stop:
        system = System(session.services().settings, render.note, port=port)
        render.note("Starting data server, broker, two workers and beat …")
        with system:
            render.say(_welcome(system))
            while not stop.wait(WATCH_SECONDS):
                system.watch()
            render.note("Stopping …")
    render.note("Everything has ended; the data stay in " + str(system.directory) + ".")


@contextmanager
def interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, in place of an exception at an arbitrary line.

    A second signal is not waited for politely: it raises KeyboardInterrupt.
    """
    stop = threading.Event()

    def note(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _welcome(system: System) -> str:
    from trimtab.adapters.redis.connection import redact

    found = system.addresses
    lines = [
        "Trimtab is up; Ctrl-C stops it.",
        f"  data server  {redact(found.redis_url)}",
        f"  broker       {redact(found.broker_url)}",
        f"  data         {system.directory}",
        f"  logs         {system.logs}",
        "Next, in another terminal:",
    ]
    if "TRIMTAB_DATA_DIR" in os.environ:
        lines.append(f"  export TRIMTAB_DATA_DIR={system.directory}")
    lines += [
        "  trimtab experiment create --id checkout --variants control,b --metric converted:binary --start",
        "  trimtab weights checkout --watch",
    ]
    return "\n".join(lines)


def demo(
    seconds: Annotated[float, typer.Option(min=5, help="How long traffic flows.")] = 60,
    attach: Annotated[bool, typer.Option("--attach", help="Use the running system instead of starting one.")] = False,
    rate: Annotated[int, typer.Option(min=1, help="Outcomes a second.")] = 3000,
    data_dir: options.DataDir = None,
) -> None:
    """Show it live: weights that find a known truth.

    Ends with a count: exit code 0 says that nothing was lost, nothing counted twice, and weights moved.
    """
    from trimtab_worker.cli.demo import run

    with interrupted() as stop:
        if not run(seconds=seconds, rate=rate, attach=attach, stop=stop):
            raise typer.Exit(FAILED)


What = Annotated[str, typer.Argument(metavar="PARTITION|EXPERIMENT", help="A number, or an experiment's id.")]


def verify(what: What, data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Fold a partition's log again, and compare only.

    Prints a digest of the state and one of its replay; exit code 1 says that they differ. Changes nothing.
    """
    _fold_again(what, verify=True, json=json)


def rebuild(
    what: What,
    verify: Annotated[bool, typer.Option("--verify", help="Only compare; change nothing.")] = False,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Fold a partition's log again.

    The outcome is compared with the state (--verify), or put in its place.
    """
    _fold_again(what, verify=verify, json=json)


def _fold_again(what: str, *, verify: bool, json: bool) -> None:
    from trimtab_worker.services.rebuild import rebuild as service

    store = session.services().partition(int(what)) if what.isdecimal() else session.store_of(what)
    report = service(store, verify=verify)
    if json:
        render.show_json({**asdict(report), "identical": report.identical})
    else:
        found = "bit for bit the state" if report.identical else "NOT the state that was there"
        done = "; it took the state's place" if report.replaced else ""
        render.say(
            f"Partition {report.partition}: {report.entries:,} entries up to {report.cursor} folded again; "
            f"the outcome is {found}{done}."
        )
        render.say(f"  state   {report.state_digest}\n  replay  {report.replay_digest}")
    if verify and not report.identical:
        raise typer.Exit(FAILED)


def accept_loss(
    partition: Annotated[int, typer.Argument(min=0, help="Number of the partition whose log has a gap.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the log. Default: what was found.")] = "",
    data_dir: options.DataDir = None,
) -> None:
    """Go on after a log gap, without what is gone.

    What is left of the log is folded, the loss is written down in it, and a snapshot is taken to rebuild from.
    """
    from trimtab_worker.services.accept_loss import accept_loss as service

    store = session.services().partition(partition)
    why = reason or _gap(store)
    lost = service(store, why)
    gone = f"{lost:,} entries of its log are gone" if lost >= 0 else "its log was replaced by a shorter one"
    render.say(f"Partition {partition} goes on; {gone}: {why}")


def _gap(store: PartitionStore) -> str:
    """What is wrong with a partition's log, in a sentence."""
    from trimtab_worker.services.ingest import check_gap

    try:
        check_gap(store, store.load())
    except LogGap as gap:
        return str(gap)
    return "No gap was found."


def doctor(data_dir: options.DataDir = None, json: options.Json = False) -> None:
    """Check servers, settings, workers and the log.

    Exit code 1 says that something is wrong; what to do stands beside it.
    """
    from trimtab_worker.services.doctor import examine

    findings = examine(_surroundings())
    if json:
        render.show_json([asdict(finding) for finding in findings])
    else:
        grid = render.table("", "check", "found", "what to do")
        for finding in findings:
            grid.add_row("✓" if finding.ok else "✗", finding.name, finding.found, finding.remedy)
        render.show(grid)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _surroundings() -> Surroundings:
    from trimtab.adapters.redis.connection import connect
    from trimtab.settings import unknown_names
    from trimtab_worker import health
    from trimtab_worker.app import TIME_LIMIT_SECONDS, VISIBILITY_TIMEOUT_SECONDS
    from trimtab_worker.services.doctor import Surroundings
    from trimtab_worker.services.ingest import check_gap, check_secret

    services = session.services()

    def asking(check: Callable[[PartitionStore, PartitionState], None]) -> Callable[[int], None]:
        def ask(number: int) -> None:
            store = services.partition(number)
            check(store, store.load())

        return ask

    def check_statistics(number: int) -> None:
        store, names = services.partition(number), services.publications.experiments()
        store.load_experiments([name for name in names if services.partition_of(name).partition == number])

    return Surroundings(
        data=services.client,
        broker=connect(services.addresses.broker_url),
        partitions=services.partition_count,
        check_gap=asking(check_gap),
        check_secret=asking(check_secret),
        check_statistics=check_statistics,
        encodings=lambda number: services.partition(number).mark_encodings(),
        alive=lambda role: health.alive(services.client, role),
        visibility_seconds=VISIBILITY_TIMEOUT_SECONDS,
        time_limit_seconds=TIME_LIMIT_SECONDS,
        unknown_settings=tuple(unknown_names()),
    )


def health(
    role: Annotated[str, typer.Argument(help="ingest, decide, analyse or beat; ROLE@HOST for one worker.")],
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Ask whether a role is alive: exit code 0 or 1."""
    from trimtab_worker.health import check

    alive = check(role)
    if json:
        render.show_json({"role": role, "alive": alive})
    else:
        render.say(f"{role} is alive." if alive else f"{role} has shown no sign of life lately.")
    if not alive:
        raise typer.Exit(FAILED)
