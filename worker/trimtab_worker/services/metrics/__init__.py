"""Metrics: everything worth watching, computed from what the data server holds, not from any process's memory.

So it does not matter who is asked, how often, or who was restarted meanwhile. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from trimtab.adapters.redis.connection import UNREACHABLE
from trimtab.errors import CorruptState, LogGap, Unavailable
from trimtab.fold import PartitionState
from trimtab.ids import partition_of
from trimtab.ports import PartitionStore, PublicationStore, Published
from trimtab.schema.base import PARTS
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.decision import Decision, HoldCode, VerdictCode
from trimtab.schema.experiment import Status
from trimtab_worker.services.ingest import check_gap
from trimtab_worker.services.metrics.catalogue import M, Metric
from trimtab_worker.services.metrics.sheet import Sheet

__all__ = ["M", "Metric", "Now", "Sheet", "Sources", "measure"]

log = structlog.get_logger(__name__)

DEAD = "dead:"
UNREADABLE = "unreadable"
_COUNTERS = ("folded", "duplicates", "capped", "conflicts", "unstamped", *(f"{DEAD}{code}" for code in DeadLetterCode))
_LIVE = (Status.RUNNING, Status.HELD)


@dataclass(frozen=True, slots=True)
class Sources:
    """What is measured; `ages` gives for each role the seconds since its last sign of life, None for none."""

    publications: PublicationStore
    partition: Callable[[int], PartitionStore]
    server: Callable[[], Mapping[str, Any]]
    ages: Callable[[], Mapping[str, float | None]]


def measure(sources: Sources) -> Sheet:
    """All of it, now; a server that cannot be reached is a value, too."""
    sheet = Sheet()
    try:
        _server(sheet, sources)
        partitions = sources.publications.partitions() or 0
        for number in range(partitions):
            _partition(sheet, sources.partition(number))
        if partitions:
            _experiments(sheet, sources, partitions)
    except (*UNREACHABLE, Unavailable) as error:
        log.warning("not_measured", reason=type(error).__name__)
        sheet = Sheet()
        sheet.put(M.UP, 0)
        return sheet
    sheet.put(M.UP, 1)
    return sheet


class Now(Collector):
    """Measures whenever a registry is asked."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Family]:
        return measure(self._sources).collect()


def _server(sheet: Sheet, sources: Sources) -> None:
    info = sources.server()
    sheet.put(M.MEMORY, info.get("used_memory", 0))
    sheet.put(M.MEMORY_MAX, info.get("maxmemory", 0))
    sheet.put(M.DURABLE, info.get("aof_enabled", 0))
    for role, age in sources.ages().items():
        sheet.put(M.ALIVE, age is not None, role)
        if age is not None:
            sheet.put(M.HEARTBEAT_AGE, age, role)


def _partition(sheet: Sheet, store: PartitionStore) -> None:
    number, now, ends, reported = store.partition, store.now(), store.ends(), store.drained_at()
    if reported is not None:
        sheet.put(M.DRAIN_AGE, max(0, now - reported) / 1000, number)
    sheet.put(M.LOG_ENTRIES, ends.entries_added, number)
    sheet.put(M.LOG_KEPT, ends.length, number)
    sheet.put(M.LOG_REMOVED, ends.removed, number)
    size = store.dead_size()
    sheet.put(M.DEAD_KEPT, size.letters, number)
    sheet.put(M.DEAD_BYTES, size.bytes, number)
    sheet.put(M.DEAD_DROPPED, size.dropped, number)
    try:
        state = store.peek()
        _folded(sheet, store, state, now)
        check_gap(store, state)
    except (LogGap, CorruptState) as problem:
        sheet.put(M.PROBLEM, 1, number, problem.code)


def _folded(sheet: Sheet, store: PartitionStore, state: PartitionState, now: int) -> None:
    number, counters = store.partition, state.counters
    read = counters["entries"] + counters["lost"]
    sheet.put(M.LAG_ENTRIES, max(0, store.ends().entries_added - read), number)
    oldest = next(iter(store.read(state.cursor.id, 1)), None)
    sheet.put(M.LAG_SECONDS, max(0, now - oldest.milliseconds) / 1000 if oldest else 0, number)
    sheet.put(M.LOG_LOST, counters["lost"], number)
    sheet.put(M.FOLDED, counters["folded"], number)
    sheet.put(M.DUPLICATES, counters["duplicates"], number)
    sheet.put(M.SKIPPED, counters["skipped_batches"], number)
    sheet.put(M.LATE, counters["late_batches"], number)
    sheet.put(M.CAPPED, counters["capped"], number)
    sheet.put(M.IMPLAUSIBLE, counters["implausible_ids"], number)
    for code in DeadLetterCode:  # from 0 on: an alert on an increase does not see the one that a series begins with
        sheet.put(M.STRAY, counters[f"{DEAD}{code}"], number, code)


def _experiments(sheet: Sheet, sources: Sources, partitions: int) -> None:
    names = sources.publications.experiments()
    for number in range(partitions):
        mine = [name for name in names if partition_of(name, partitions) == number]
        store = sources.partition(number)
        now = store.now()
        for name, counters in store.counters(mine, _COUNTERS).items():
            sheet.put(M.OUTCOMES, counters["folded"], name)
            sheet.put(M.REPEATED, counters["duplicates"], name)
            sheet.put(M.BEYOND_CAP, counters["capped"], name)
            sheet.put(M.CONFLICTS, counters["conflicts"], name)
            sheet.put(M.UNSTAMPED, counters["unstamped"], name)
            for code in DeadLetterCode:
                n = counters[f"{DEAD}{code}"]
                if n or code is DeadLetterCode.AUTH:  # of all codes from 0 on, there would be too many series
                    sheet.put(M.DEAD, n, name, code)
        for name in mine:
            try:
                published = sources.publications.read(name)
            except CorruptState:
                sheet.put(M.STATUS, 1, name, UNREADABLE)
                continue
            if published is not None:
                _published(sheet, published, now)
                _decided(sheet, sources.publications, published)


def _published(sheet: Sheet, published: Published, now: int) -> None:
    name, allocation = published.experiment.id, published.allocation
    sheet.put(M.STATUS, 1, name, published.status)
    sheet.put(M.REVISION, published.revision, name)
    sheet.put(M.LEDGER, published.decision_id, name)
    if published.status in _LIVE:
        for variant in published.halted:
            sheet.put(M.HALTED, 1, name, variant)
    if allocation is None:
        return
    sheet.put(M.EPOCH, allocation.epoch, name)
    sheet.put(M.ALLOCATION_AGE, max(0, now - allocation.computed_at) / 1000, name)
    for variant, parts in allocation.weights.items():
        sheet.put(M.WEIGHT, parts / PARTS, name, variant)
    if published.status in _LIVE and allocation.valid_until is not None:
        sheet.put(M.OVERDUE, max(0, now - allocation.valid_until) / 1000, name)


def _decided(sheet: Sheet, publications: PublicationStore, published: Published) -> None:
    """What held or bound the newest entry if that is a decision, 0 for the others: an alert sees it come and go."""
    if published.status not in _LIVE:
        return
    name = published.experiment.id
    newest = next(iter(publications.ledger(name, 1)), None)
    decision = newest if isinstance(newest, Decision) else None
    held = {reason.code for reason in decision.reasons} if decision else set()
    bound = {verdict.code for verdict in decision.verdicts} if decision else set()
    for hold in HoldCode:
        sheet.put(M.HOLD, hold in held, name, hold)
    for verdict in VerdictCode:
        sheet.put(M.BOUND, verdict in bound, name, verdict)
