"""The live demo: real servers, workers and clients, and only the outcomes drawn from a truth we know.

`world` says what is true, `traffic` lets units meet variants and reports what happened to them, `screen` shows it, and
`verdict` counts at the end: everything sent was folded, once, and the weights have moved.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import NotFound
from trimtab_worker.cli import render
from trimtab_worker.cli.demo.screen import Screen, View, screen
from trimtab_worker.cli.demo.traffic import Traffic
from trimtab_worker.cli.demo.verdict import Verdict, judge
from trimtab_worker.cli.demo.world import World

if TYPE_CHECKING:
    from trimtab.settings import Settings
    from trimtab_worker.bootstrap import Services

STOP_SECONDS = 0.5  # nothing is kept, so nobody waits for parked drains
FOLD_SECONDS = 60.0  # a worker killed at the last moment is back within 10; the rest is for slow machines


def run(*, seconds: float, rate: int, attach: bool, stop: threading.Event) -> bool:
    """Show it for `seconds`, or until `stop`; whether nothing was lost or doubled, and weights moved."""
    from trimtab_worker.bootstrap import Services

    with _system(attach) as (settings, watch):
        services = Services(settings)
        try:
            found = _show(services, World(), seconds, rate, stop, watch)
        finally:
            services.close()
    render.show(*found.picture())
    return found.good


@contextmanager
def _system(attach: bool) -> Iterator[tuple[Settings, Callable[[], None]]]:
    """Settings that lead to a running system, and what looks after it: the one attached to, or one of our own."""
    from trimtab.settings import Settings
    from trimtab_worker.cli.system import System

    configured = Settings.load()
    if attach:
        yield configured, lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="trimtab-demo-", ignore_cleanup_errors=True) as directory:
        # A demo is by itself: addresses that the environment names belong to something that matters.
        own = configured.model_copy(update={"data_dir": Path(directory), "redis_url": None, "broker_url": None})
        render.note("Starting data server, broker, two workers and beat …")
        with System(own, render.note, stop_seconds=STOP_SECONDS) as system:
            yield own, system.watch


def _show(
    services: Services, world: World, seconds: float, rate: int, stop: threading.Event, watch: Callable[[], None]
) -> Verdict:
    control = services.control("demo")
    experiment = control.create(world.definition(), partitions=services.settings.partitions)
    control.start(experiment.id, reason="the demo began")
    look = _Look(services, world, seconds)
    with Traffic(services.addresses.redis_url, world, rate) as traffic, screen() as shown:
        traffic.start()
        while not stop.wait(shown.pause_seconds) and traffic.seconds < seconds and traffic.failure is None:
            watch()
            shown.update(look(traffic))
        traffic.stop()
        _await_fold(look, traffic, shown, watch)
    control.stop(experiment.id, reason="the demo ended")
    return judge(look(traffic), traffic.tallies, world)


def _await_fold(look: _Look, traffic: Traffic, shown: Screen, watch: Callable[[], None]) -> None:
    deadline = time.monotonic() + FOLD_SECONDS
    view = look(traffic)
    while view.accounted < traffic.sent and time.monotonic() < deadline:
        watch()
        shown.update(view)
        time.sleep(shown.pause_seconds)
        view = look(traffic)
    shown.update(view, last=True)


class _Look:
    """How things stand, read anew at each call."""

    def __init__(self, services: Services, world: World, seconds: float) -> None:
        self._services = services
        self._world = world
        self._seconds = seconds
        self._control = services.control("demo")

    def __call__(self, traffic: Traffic) -> View:
        from trimtab_worker.services.statistics import statistics

        name = self._world.experiment_id
        try:
            found = statistics(self._services.partition_of(name), name)
        except NotFound:  # the fold has not come to the definition yet
            found = None
        return View(
            world=self._world,
            elapsed=traffic.seconds,
            seconds=self._seconds,
            sent=traffic.sent,
            statistics=found,
            published=self._control.show(name),
            entry=self._control.explain(name),
        )
