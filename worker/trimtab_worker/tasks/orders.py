"""Orders as Celery tasks, for operators with code of their own; best effort.

A task may be lost with its broker and tells nobody how it ended. Whoever must know uses `trimtab.Control`, the CLI or
HTTP, which are synchronous and return the new revision; these call the same service::

    app.send_task("trimtab.hold", args=["checkout"], kwargs={"reason": "incident 42", "command_id": "incident-42"})

A redelivered order is carried out once: its command id (default: the Celery task's id) stands in the ledger, written
in the same step as its effect. Two deliveries at once both find it missing; the one that loses the race looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from trimtab.client.control import Control
from trimtab.ports import Published
from trimtab_worker import bootstrap
from trimtab_worker.tasks import arguments
from trimtab_worker.tasks.nudge import task

LOOK_BACK = 200  # ledger entries searched for a command id: far more acts than a redelivery could be late by
DEFAULT_REASON = "ordered by a Celery task"

log = structlog.get_logger(__name__)


@task("start", bind=True)
def start(self: Any, experiment: str, reason: str = DEFAULT_REASON, command_id: str | None = None) -> None:
    """Publish the initial weights and begin to count outcomes."""
    _order(self, experiment, reason, command_id, lambda control, name, why: control.start(name, reason=why))


@task("hold", bind=True)
def hold(self: Any, experiment: str, reason: str = DEFAULT_REASON, command_id: str | None = None) -> None:
    """Keep the weights as they are until `resume`."""
    _order(self, experiment, reason, command_id, lambda control, name, why: control.hold(name, reason=why))


@task("resume", bind=True)
def resume(self: Any, experiment: str, reason: str = DEFAULT_REASON, command_id: str | None = None) -> None:
    """Let weights move again."""
    _order(self, experiment, reason, command_id, lambda control, name, why: control.resume(name, reason=why))


@task("halt", bind=True)
def halt(
    self: Any,
    experiment: str,
    reason: str = DEFAULT_REASON,
    command_id: str | None = None,
    variant: str | None = None,
) -> None:
    """Send `variant`, or everything but control, to zero at once."""
    which = None if variant is None else arguments.variant_id(variant)
    _order(self, experiment, reason, command_id, lambda control, name, why: control.halt(name, which, reason=why))


@task("stop", bind=True)
def stop(self: Any, experiment: str, reason: str = DEFAULT_REASON, command_id: str | None = None) -> None:
    """Stop counting and deciding; the weights stay in force."""
    _order(self, experiment, reason, command_id, lambda control, name, why: control.stop(name, reason=why))


@task("conclude", bind=True)
def conclude(
    self: Any, experiment: str, variant: str, reason: str = DEFAULT_REASON, command_id: str | None = None
) -> None:
    """End the experiment: everybody sees `variant`."""
    winner = arguments.variant_id(variant)
    _order(self, experiment, reason, command_id, lambda control, name, why: control.conclude(name, winner, reason=why))


def _order(
    self: Any, experiment: str, reason: str, command_id: str | None, act: Callable[[Control, str, str], int]
) -> None:
    name, why = arguments.experiment_id(experiment), arguments.reason_text(reason)
    by = f"celery:{arguments.command_id(command_id or self.request.id)}"
    services = bootstrap.current()
    with structlog.contextvars.bound_contextvars(experiment=name, by=by):
        try:
            revision = act(_OnceControl.over(services.publications, services.partition, by=by), name, why)
        except _CarriedOut:
            log.info("order_repeated", consequence="none: it was carried out before")
            return
        log.info("order_carried_out", revision=revision)


class _CarriedOut(Exception):
    """The order stands in the ledger."""


class _OnceControl(Control):
    """Looks into the ledger after each read that an order starts from.

    What is written between the two makes the order's own compare-and-set fail, and then it reads again.
    """

    def show(self, experiment_id: str) -> Published:
        current = super().show(experiment_id)
        ledger = self._publications.ledger(experiment_id, LOOK_BACK)
        if any(entry.kind == "act" and entry.by == self._by for entry in ledger):
            raise _CarriedOut
        return current
