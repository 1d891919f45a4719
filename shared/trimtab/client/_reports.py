"""When a flag client tells the server what it serves, and in which words. Pure."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab.client._assignments import Table
from trimtab.schema.serving import CLIENT_NAME_LENGTH, ServingClient

KEPT_PERIODS = 3  # one note may be lost to a restart of the server, two to a long pause; three are an absence
SOONEST_SECONDS = 1.0  # publications may come faster than anybody reads notes


def client_name() -> str:
    """Host and process id: what an operator looks for."""
    return f"{socket.gethostname()}:{os.getpid()}"[:CLIENT_NAME_LENGTH]


@dataclass(slots=True)
class Reports:
    """What was said last, and when the next word is due."""

    period_seconds: float  # 0: nothing is ever said
    name: str
    client: str = field(default_factory=lambda: secrets.token_hex(6))
    last: dict[str, str] = field(default_factory=dict)  # experiment → the note that the server holds
    _all_at: float = -float("inf")
    _any_at: float = -float("inf")

    @property
    def keep_ms(self) -> int:
        return round(self.period_seconds * 1000 * KEPT_PERIODS)

    def due(self, tables: Mapping[str, Table], now: float) -> dict[str, str]:
        """Notes to leave at `now`: all of them once a period, else those that changed; marks them as left."""
        if not self.period_seconds or now - self._any_at < SOONEST_SECONDS:
            return {}
        notes = {name: self._note(table, now) for name, table in tables.items() if table.allocation is not None}
        if now - self._all_at >= self.period_seconds:
            self._all_at = now
        else:
            notes = {name: note for name, note in notes.items() if self.last.get(name) != note}
        if notes:
            self._any_at = now
        return notes

    def _note(self, table: Table, now: float) -> str:
        held = table.allocation
        assert held is not None
        return ServingClient(
            client=self.client,
            name=self.name,
            incarnation=held.incarnation,
            revision=held.revision,
            epoch=held.epoch,
            stale=now >= table.stale_at,
        ).model_dump_json()
