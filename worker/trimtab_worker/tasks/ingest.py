"""Tasks of the `ingest` queue: fold what is new, and keep the log short."""

from __future__ import annotations

import os
import socket
import uuid

import structlog

from trimtab_worker import bootstrap
from trimtab_worker.tasks.decide import recompute
from trimtab_worker.tasks.nudge import send, task

MIN_PARK_SECONDS = 0.2  # below that, nudges would cost more than the reads they bring


@task("drain")
def drain(partition: int) -> None:
    """Fold a partition's new entries, wait a while for more, then send one drain after this one.

    Beat sends drains only to revive a chain that was broken; with another drain at work this one ends at once.
    """
    services = bootstrap.current()
    park = park_seconds(services.settings.drain_park_seconds, services.partition_count())
    with structlog.contextvars.bound_contextvars(partition=partition):
        report = services.ingest(partition).drain(
            holder=_holder(), park_seconds=park, block_ms=services.settings.drain_block_ms
        )
        if report.busy:
            return
        # Half a round more than it takes until its turn: chains that revivals add by mistake die in the queue.
        send("drain", partition, expires=max(1.0, 1.5 * services.settings.drain_park_seconds))
        services.maintain(partition).run()
        for experiment_id in services.reallocate.overdue(partition, services.now()):
            # Nobody ticks. Called here, not sent, because the decide worker may be the dead one.
            recompute(experiment_id)


@task("maintain")
def maintain(partition: int) -> None:
    """Trim a partition's log behind a snapshot, where no drain does."""
    bootstrap.current().maintain(partition).run()


def park_seconds(whole: float, partitions: int) -> float:
    """A drain's share of the parking time: one worker comes by every partition within `whole` seconds."""
    return max(min(whole, MIN_PARK_SECONDS), whole / partitions)


def _holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
