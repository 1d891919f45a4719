"""Tasks of the `decide` queue: recompute what is due, and show that the clock ticks."""

from __future__ import annotations

import structlog

from trimtab_worker import bootstrap, health
from trimtab_worker.tasks.arguments import experiment_id
from trimtab_worker.tasks.nudge import send, task

RECOMPUTE_EXPIRES_SECONDS = 30.0  # a due experiment is named again by a later tick; a backlog must not pile up


@task("tick")
def tick() -> None:
    """Send a recompute for every experiment that is due."""
    services = bootstrap.current()
    for name in services.reallocate.due(services.now()):
        send("recompute", name, expires=RECOMPUTE_EXPIRES_SECONDS)


@task("recompute")
def recompute(experiment: str) -> None:
    """Make one decision and publish it; two at once cost a lost race, nothing more."""
    name = experiment_id(experiment)
    with structlog.contextvars.bound_contextvars(experiment=name):
        bootstrap.current().reallocate.recompute(name)


@task("heartbeat")
def heartbeat() -> None:
    """Note that beat sent something and that a worker got it."""
    services = bootstrap.current()
    health.report(services.client, health.BEAT, "schedule", services.settings.periods.heartbeat_seconds)
