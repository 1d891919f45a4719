"""A small world: producers, workers, recomputes, a person and upkeep over one partition, and what must hold in it.

Each event carries a value of its own, a power of four, so that the sums of a variant tell how often each was counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from faults.simulated.schedule import Odds, Schedule, attempt_until_done
from faults.simulated.stores import SimulatedPartition, SimulatedPublications
from trimtab.adapters.memory import MemoryPartition
from trimtab.client._outbox import Life, Limits, Outbox, Window
from trimtab.client.control import Control
from trimtab.errors import Conflict, IllegalTransition
from trimtab.fold.commit import LOG_START
from trimtab.ports import entry_order
from trimtab.schema.control import EpochStart, control_entries
from trimtab.schema.event import OutcomeEvent
from trimtab_worker.services.ingest import DrainReport, Ingest
from trimtab_worker.services.maintain import Maintain
from trimtab_worker.services.reallocate import Reallocate

BEGIN = 1_790_000_000_000
NAME = "sim"
VARIANTS = ("a", "b", "c")
EVENTS_OF_A_PRODUCER = 8
ROWS = 4
RECOMPUTES = 2
RETENTION_BYTES = 1200  # trims and snapshots happen within a run


class Violation(AssertionError):
    """The world is not as promised."""


@dataclass
class Parts:
    """What the world is made of; a mutant replaces one of them by one that does wrong."""

    partition: type[SimulatedPartition] = SimulatedPartition
    publications: type[SimulatedPublications] = SimulatedPublications
    ingest: type[Ingest] = Ingest
    maintain: type[Maintain] = Maintain
    reallocate: type[Reallocate] = Reallocate
    outbox: type[Outbox] = Outbox


@dataclass
class World:
    """One run of one seed."""

    seed: int
    parts: Parts = field(default_factory=Parts)
    odds: Odds | None = None

    def __post_init__(self) -> None:
        self.schedule = Schedule(self.seed, self.odds, BEGIN)
        rng = self.schedule.rng
        self.store = self.parts.partition(self.schedule)
        self.publications = self.parts.publications(self.schedule)
        self.confirmed: set[tuple[str, int]] = set()
        self.published: set[tuple[str, int]] = set()
        self.life = Life("first", "log")
        self.loses_power = rng.random() < 0.3
        self._decides = rng.random() < 0.4  # a decision costs as much as ten folds
        self.control = Control.over(self.publications, lambda _: self.store, by="simulation")
        self.control.create(
            {
                "id": NAME,
                "variants": [{"id": name} for name in VARIANTS],
                "metrics": [{"name": "won", "kind": "binary", "primary": True}, {"name": "mark", "kind": "count"}],
                "unit": "unit" if rng.random() < 0.5 else "event",
                "strategy": "heuristic",
                "constraints": {"min_trials": 0, "max_step": 0.5, "min_weight": 0.01, "cooldown_seconds": 0},
                "salt": "salt",
                "recompute_seconds": 1,
            }
        )
        self.control.start(NAME)
        self._marks = dict.fromkeys(VARIANTS, 0)

    def run(self) -> None:
        """Let everybody live, then check; raises `Violation`, or what an actor raised."""
        for number in range(2):
            self.schedule.add(f"producer {number}", self._producer(), mortal=not self.loses_power)
        self.schedule.add("rows", self._rows())
        for number in range(2):
            self.schedule.add(f"worker {number}", self._worker)
        if self._decides:
            for number in range(2):
                self.schedule.add(f"recompute {number}", self._recomputes())
            self.schedule.add("person", self._person())
        if self.loses_power:
            self.schedule.add("power", self._power, mortal=False)
        self.schedule.run()
        self.check()

    # ── who lives here ───────────────────────────────────────────────────────────────────────────────────────────

    def _events(self, count: int) -> list[OutcomeEvent]:
        events = []
        for _ in range(count):
            variant = self.schedule.rng.choice(VARIANTS)
            place, self._marks[variant] = self._marks[variant], self._marks[variant] + 1
            self.published.add((variant, place))
            events.append(
                OutcomeEvent.model_validate(
                    {
                        "experiment_id": NAME,
                        "variant": variant,
                        "unit_id": f"{variant}{place}",
                        "event_id": f"{variant}{place}",
                        "occurred_at": BEGIN,
                        "epoch": self._served_epoch(),
                        "metrics": {"won": place % 2, "mark": 4**place},
                    }
                )
            )
        return events

    def _served_epoch(self) -> int:
        """What a flag client would say; an epoch whose announcement is lost with the power would be unknown."""
        allocation = self.publications._published[NAME].allocation
        return 1 if self.loses_power or allocation is None else allocation.epoch

    def _producer(self) -> Callable[[], None]:
        """An application: it publishes what is left; what was unconfirmed when it crashed is gone with it."""
        left = [EVENTS_OF_A_PRODUCER]

        def live() -> None:
            outbox = self.parts.outbox(1, Limits(events=2))
            while left[0]:
                count = min(left[0], self.schedule.rng.randrange(1, 5))
                left[0] -= count
                events = self._events(count)
                if self.schedule.rng.random() < 0.5:
                    events = [event.model_copy(update={"event_id": None}) for event in events]
                outbox.seal(events, self.schedule.now)
                self._deliver(outbox)
            safe = False
            while not safe:  # what it keeps to send again would die with it
                safe = self._power_is_safe()
                life = attempt_until_done(lambda: self.schedule.command("look", lambda: self.life))
                outbox.meet(life, self.schedule.now)
                self._deliver(outbox)

        return live

    def _power_is_safe(self) -> bool:
        return not self.loses_power or self.schedule.finished("power")

    def _deliver(self, outbox: Outbox) -> None:
        """What `Publisher` does with its windows."""
        while outbox:
            for window in outbox.windows():
                try:
                    if outbox.meet(self.schedule.command("look", lambda: self.life), self.schedule.now):
                        continue
                    replies: list[Any] = list(self._send(window))
                except redis.ConnectionError as error:
                    replies = [error]
                _, failure = outbox.confirm(window, replies, self.schedule.now)
                if failure:
                    outbox.cut_off()
                    break
                for batch in window.batches:
                    self.confirmed |= marks_in(batch.payload)

    def _send(self, window: Window) -> list[str]:
        return self.store.append_all("batch", [batch.payload for batch in window.batches])

    def _rows(self) -> Callable[[], None]:
        """Rows under ids, sent again until confirmed, and all of them where the server begins another life."""
        events = self._events(ROWS)

        def live() -> None:
            while True:
                life, safe = self.life, self._power_is_safe()
                for event in events:
                    row = event.model_dump_json(exclude_none=True).encode()
                    attempt_until_done(lambda row=row: self.store.append("event", row))
                    self.confirmed.add(key(event))
                if safe and self.life == life:
                    return

        return live

    def _worker(self) -> None:
        """Drains and upkeep, until nobody writes any more and nothing is unread."""
        ingest = self.parts.ingest(self.store)
        maintain = self.parts.maintain(self.store, RETENTION_BYTES)
        while True:
            if self.schedule.finished("producer", "rows", "recompute", "person", "power"):
                self.schedule.calm = True
            with suppress(redis.ConnectionError):
                self.store.report_drain()
                worked = ingest.step(DrainReport(), None)
                maintain.trim()
                if self.schedule.calm and not worked and self._all_read():
                    return

    def _all_read(self) -> bool:
        return self.store.load().cursor.id == self.store.ends().last_id

    def _recomputes(self) -> Callable[[], None]:
        left = [RECOMPUTES]

        def live() -> None:
            service = self.parts.reallocate(self.publications, lambda _: self.store)
            while left[0]:
                with suppress(redis.ConnectionError, Conflict, IllegalTransition):
                    service.recompute(NAME)
                    left[0] -= 1

        return live

    def _person(self) -> Callable[[], None]:
        orders = [("hold", ()), ("resume", ()), ("halt", ("b",)), ("resume", ())]

        def live() -> None:
            control = Control.over(self.publications, lambda _: self.store, by="person")
            while orders:
                order, arguments = orders[0]
                try:
                    getattr(control, order)(NAME, *arguments, reason="to see")
                except (redis.ConnectionError, Conflict):
                    continue
                except IllegalTransition:
                    pass  # it was carried out, and its answer lost
                orders.pop(0)

        return live

    def _power(self) -> None:
        """The server loses its newest writes, once: log and state alike, for both are in one file."""
        self._wait(self.schedule.rng.randrange(150))
        state, public = self.store.remember(), self.publications.remember()
        self._wait(self.schedule.rng.randrange(1, 40))
        self.store.come_back(state)
        self.publications.come_back(public)
        self.life = Life("second", "log")
        # Producers and workers send what belongs together on one connection; a decision's commands may use several.
        self.schedule.break_connections("recompute", "person")

    def _wait(self, commands: int) -> None:
        until = self.schedule.commands + commands
        while self.schedule.commands < until:
            with suppress(redis.ConnectionError):
                self.schedule.command("wait", lambda: None)

    # ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────

    def check(self) -> None:
        self._nothing_lost_nothing_double()
        self._state_is_the_fold_of_its_log()
        self._revisions_have_no_gap()
        self._served_epochs_are_announced_as_served()
        self._no_two_epochs_bear_the_same_number()
        self._no_two_documents_bear_the_same_name()

    def _nothing_lost_nothing_double(self) -> None:
        state = self.store.load_experiments([NAME])[NAME]
        assert state is not None
        counted: dict[tuple[str, int], int] = {}
        for (_, variant, metric), cell in state.cells.items():
            total, digit = cell.total, 0
            while metric == "mark" and total:
                total, times = divmod(total, 4)
                counted[variant, digit] = counted.get((variant, digit), 0) + times
                digit += 1
        if double := {mark for mark, times in counted.items() if times > 1}:
            raise Violation(f"counted more than once: {sorted(double)}")
        if lost := self.confirmed - {mark for mark, times in counted.items() if times}:
            letters = [f"{letter.code}: {letter.detail}" for letter in self.store.dead_letters(9)]
            raise Violation(f"confirmed and lost: {sorted(lost)}; dead letters: {letters}")
        if strange := {mark for mark, times in counted.items() if times} - self.published:
            raise Violation(f"counted, and never published: {sorted(strange)}")

    def _state_is_the_fold_of_its_log(self) -> None:
        live = self.store.dump()
        again = MemoryPartition()
        cursor = entry_order(self.store.load().cursor.id)
        again._all.entries = [entry for entry in self.store.history if entry_order(entry.id) <= cursor]
        again._all.added = len(again._all.entries)
        again._all.last_id = again._all.entries[-1].id if again._all.entries else LOG_START
        fold = Ingest(again, watch_gaps=False)
        while fold.step(DrainReport(), None):
            pass
        if (replayed := again.dump()) != live:
            differing = sorted(name for name in live.keys() | replayed.keys() if live.get(name) != replayed.get(name))
            raise Violation(f"the state is not the fold of its log: {differing} differ")

    def _revisions_have_no_gap(self) -> None:
        revisions = [published.revision for published in self.publications.published]
        if revisions != list(range(1, len(revisions) + 1)):
            raise Violation(f"revisions are {revisions}")
        until = [p.allocation.data_until for p in self.publications.published if p.allocation]
        if until != sorted(until):
            raise Violation(f"published outcomes grow older: {until}")

    def _served_epochs_are_announced_as_served(self) -> None:
        orders = (control_entries.validate_json(e.fields[b"control"]) for e in self.store.history
                  if b"control" in e.fields)  # fmt: skip
        announced = [(order.epoch, order.parts) for order in orders if isinstance(order, EpochStart)]
        numbers = [epoch for epoch, _ in announced]
        if numbers != sorted(set(numbers)):
            raise Violation(f"announced epochs are {numbers}")
        parts_of = dict(announced)
        for published in self.publications.published:
            allocation = published.allocation
            if allocation and parts_of.get(allocation.epoch) != dict(allocation.weights):
                raise Violation(f"epoch {allocation.epoch} serves {allocation.weights}, which was not announced")

    def _no_two_epochs_bear_the_same_number(self) -> None:
        """Else outcomes of an epoch that the server lost would count in another, served with other weights."""
        numbers = self.store.announcements
        if len(numbers) != len(set(numbers)):
            raise Violation(f"epochs ever announced are {numbers}")

    def _no_two_documents_bear_the_same_name(self) -> None:
        """Else clients that saw the one would ignore the other for ever."""
        named: dict[tuple[str, int], str] = {}
        for allocation in self.publications.served:
            digest = named.setdefault((allocation.incarnation, allocation.revision), allocation.digest)
            if digest != allocation.digest:
                raise Violation(f"two documents are revision {allocation.revision} of one incarnation")


def key(event: OutcomeEvent) -> tuple[str, int]:
    """An event's variant, and the exponent of its mark."""
    return event.variant, _exponent(int(event.metrics["mark"]))


def marks_in(payload: bytes) -> set[tuple[str, int]]:
    """`key` of every event of a batch."""
    batch = json.loads(payload)
    variants = [batch["variants"][index] for index in batch["variant"]]
    return {(variant, _exponent(mark)) for variant, mark in zip(variants, batch["metrics"]["mark"], strict=True)}


def _exponent(mark: int) -> int:
    return (mark.bit_length() - 1) // 2
