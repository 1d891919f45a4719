"""Builders of experiments and log entries for tests: small, explicit, JSON as a producer would write it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.client.control import Control
from trimtab.fold import Cell, ExperimentState
from trimtab.ports import PartitionStore, PublicationStore
from trimtab_worker.services.ingest import DrainReport, Ingest

NOW = 1_790_000_000_000
"""The instant at which test logs begin, in milliseconds: some day of 2026."""

HOUR = 3_600_000


def definition(**changes: Any) -> dict[str, Any]:
    """An experiment of two variants, a binary primary metric and an amount, one trial an event."""
    return {
        "id": "checkout",
        "variants": [{"id": "control"}, {"id": "b"}],
        "metrics": [
            {"name": "converted", "kind": "binary", "primary": True},
            {"name": "amount", "kind": "revenue", "cap": 100},
        ],
        "unit": "event",
        "salt": "salt",
        **changes,
    }


def event(**changes: Any) -> dict[str, Any]:
    """A good outcome event."""
    base = {"experiment_id": "checkout", "variant": "b", "epoch": 1, "occurred_at": NOW, "metrics": {"converted": 1}}
    return {**base, **changes}


def batch(events: Iterable[Mapping[str, Any]], **changes: Any) -> dict[str, Any]:
    """The events (of one epoch) as one batch of columns."""
    events = list(events)
    variants = sorted({e["variant"] for e in events})
    names = sorted({name for e in events for name in e["metrics"]})
    columns: dict[str, Any] = {
        "v": 1,
        "experiment_id": events[0]["experiment_id"],
        "epoch": events[0].get("epoch"),
        "sent_at": NOW,
        "n": len(events),
        "variants": variants,
        "variant": [variants.index(e["variant"]) for e in events],
        "base": NOW,
        "offsets": [e["occurred_at"] - NOW for e in events],
        "metrics": {name: [e["metrics"].get(name) for e in events] for name in names},
    }
    for name in ("unit_id", "event_id", "exposed_at", "token"):
        if any(name in e for e in events):
            columns[name] = [e.get(name) for e in events]
    return {**columns, **changes}


class Clock:
    """A server clock that tests set."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Log:
    """A partition with a running experiment, and the ways to write to it."""

    def __init__(
        self, store: PartitionStore | None = None, publications: PublicationStore | None = None, **changes: Any
    ) -> None:
        self.clock = Clock()
        self.store = store if store is not None else MemoryPartition(clock=self.clock)
        self.publications = publications if publications is not None else MemoryPublications()
        if isinstance(self.publications, MemoryPublications):
            self.publications.life = ""  # beside a real log they do not know which process of the server answers
        self.control = Control.over(self.publications, lambda _: self.store, by="tester")
        self.experiment = self.control.create(definition(**changes)).id
        self.control.start(self.experiment)

    def row(self, document: Any) -> None:
        self.store.append("event", document if isinstance(document, bytes) else json.dumps(document).encode())

    def columns(self, document: Any) -> None:
        self.store.append("batch", document if isinstance(document, bytes) else json.dumps(document).encode())

    def drain(self) -> DrainReport:
        return Ingest(self.store).drain(holder="test")

    def state(self) -> ExperimentState:
        state = self.store.load_experiments([self.experiment])[self.experiment]
        assert state is not None
        return state

    def cell(self, variant: str, metric: str = "converted", epoch: int = 1) -> Cell:
        return self.state().cells.get((epoch, variant, metric), Cell())

    def dead_codes(self) -> list[str]:
        """Reason codes of all dead letters, oldest first."""
        return [letter.code.value for letter in reversed(self.store.dead_letters(10_000))]


def forged(log: Log, document: Any, field: str = "event", **beside: bytes) -> None:
    """Write an entry as somebody without a key would: with no signature, or with whatever is put beside it."""
    fields = {field.encode(): document if isinstance(document, bytes) else json.dumps(document).encode()}
    fields |= {name.encode(): value for name, value in beside.items()}
    store: Any = log.store
    if isinstance(store, MemoryPartition):
        store._append(fields, log.clock.now)
    else:
        store._client.xadd(store.keys.events, fields)
