"""What both flag clients share: answers from memory, what is held behind them, who hears of changes."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mmh3

from trimtab.adapters.redis import serving
from trimtab.client._assignments import Assignment, Reason, Table, answer, answers_to, missing
from trimtab.client._disk import Copy, DiskCache
from trimtab.client._holdings import Counts, FlagEvent, Holdings, Reading, Terms
from trimtab.client._keys import signing_key_of
from trimtab.client._reading import MAX_TRACKED, PollSettings, is_slug
from trimtab.client._reports import Reports, client_name
from trimtab.clock import Clock
from trimtab.schema.allocation import Allocation

_log = logging.getLogger("trimtab.client")
_hash = mmh3.hash

Monotonic = Callable[[], float]
"""Returns seconds that never run backwards, such as `time.monotonic`."""


class Exposure(NamedTuple):
    """A unit met its variant: what the hook is handed, and what an outcome event needs later."""

    experiment_id: str
    unit_id: str
    variant: str
    epoch: int
    propensity: float
    revision: int
    reason: Reason
    exposed_at: int  # milliseconds of the data server's clock, as this process knows it
    context: Mapping[str, Any] | None  # what the caller handed over


ExposureHook = Callable[[Exposure], None]
Listener = Callable[[FlagEvent], None]


class Answering:
    """Tables in memory, and questions to them; how they are filled is the subclass's business."""

    def __init__(
        self,
        names: Mapping[str, None],
        settings: PollSettings,
        *,
        cache_dir: Path | str | None,
        name: str | None,
        on_exposure: ExposureHook | None,
        on_event: Listener | None,
        signing_key: str | None,
        clock: Clock,
        monotonic: Monotonic,
    ) -> None:
        self._settings, self._clock, self._monotonic = settings, clock, monotonic
        self._on_exposure = on_exposure
        self._signing_key = signing_key_of(signing_key)
        self._listeners: tuple[Listener, ...] = (on_event,) if on_event else ()
        self._disk = DiskCache(cache_dir) if cache_dir is not None else None
        self._reports = Reports(settings.report_seconds, name or client_name())
        self._swapping = threading.Lock()  # held while what is held is replaced; nobody waits for I/O behind it
        self._answered = False  # whether the server was there at the last reading
        self._parked: dict[str, Table] = {}  # the parent's tables, in a forked child that was asked nothing yet
        terms = Terms(round(settings.grace_seconds * 1000), settings.on_stale)
        self._held = Holdings(terms).naming(names)
        self._tables = self._held.tables  # replaced whole, never changed: a reader needs no lock
        self._recall(names)

    def variant(
        self,
        experiment_id: str,
        unit_id: str,
        default: str | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> Assignment:
        """What the unit sees, and why; `default` is served where no allocation chooses. Never raises.

        `context` says more about the unit; it is handed on to the exposure hook.
        """
        try:
            if unit_id:
                table = self._tables[experiment_id]
                # Bytes, not text: mmh3 5.3 crashes the process at text that has no UTF-8, such as "\ud800".
                digest = _hash(table.prefix + unit_id.encode(), 0, False)
                answers = table.fresh if self._monotonic() < table.stale_at else table.late
                found = answers[bisect_right(table.ends, digest)]
                if self._on_exposure is not None:
                    self._expose(experiment_id, unit_id, found, context)
                return found
        except Exception:  # whatever it is, the slow path finds the words for it
            pass
        try:
            found = answer(self._table(experiment_id), unit_id, default, self._monotonic())
        except Exception:  # an object that is a str by name only
            return Assignment(default, None, None, Reason.INVALID_UNIT, None)
        self._expose(experiment_id, unit_id, found, context)
        return found

    def token(self, experiment_id: str, unit_id: str, served: Assignment) -> str | None:
        """What says that the unit was served this; hand it on with the outcome. None without a key, or an allocation.

        Experiments with `exposure_tokens` count only outcomes that carry it, so nobody can invent an exposure.
        """
        key = self._signing_key
        if key is None or served.variant is None or served.epoch is None:
            return None
        return key.token(experiment_id, served.variant, served.epoch, unit_id, self._clock())

    def assignments(
        self,
        experiment_id: str,
        unit_ids: Iterable[str],
        default: str | None = None,
        *,
        context: Mapping[str, Any] | None = None,
    ) -> list[Assignment]:
        """What each of many units sees, in their order, all from one allocation; no unit raises."""
        units = list(unit_ids)
        found = answers_to(self._table(experiment_id), units, default, self._monotonic())
        if self._on_exposure is not None:
            for unit_id, given in zip(units, found, strict=True):
                self._expose(experiment_id, unit_id, given, context)
        return found

    def allocation(self, experiment_id: str) -> Allocation | None:
        """The allocation that answers come from; None where none is known. Asks nobody."""
        table = (self._tables or self._parked).get(experiment_id)
        return table.allocation if table else None

    def is_stale(self, experiment_id: str) -> bool:
        """Whether the allocation held is past its time and grace."""
        table = (self._tables or self._parked).get(experiment_id)
        return table is not None and self._monotonic() >= table.stale_at

    @property
    def experiments(self) -> tuple[str, ...]:
        """Ids that are polled."""
        return tuple(self._tables or self._parked)

    @property
    def counts(self) -> Counts:
        """How many documents were accepted and ignored, how often the server could not be asked, and more."""
        return self._held.counts

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every `FlagEvent` from now on, where the polling runs; returns what ends that."""
        with self._swapping:
            self._listeners = (*self._listeners, listener)

        def stop() -> None:
            with self._swapping:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return stop

    def _table(self, experiment_id: Any) -> Table:
        """The table of an experiment, which may have to be read first."""
        if not (isinstance(experiment_id, str) and is_slug(experiment_id)):
            return missing(Reason.DEFAULT)
        return self._tables.get(experiment_id) or self._first(experiment_id)

    def _first(self, experiment_id: str) -> Table:
        """The table of an experiment that nobody named so far."""
        raise NotImplementedError

    def _may_track(self, experiment_id: str) -> bool:
        return experiment_id not in self._tables and len(self._tables) < MAX_TRACKED

    def _recall(self, names: Iterable[str]) -> None:
        """Take what the disk holds of experiments of which nothing is known yet."""
        if self._disk is None:
            return
        for name in names:
            try:
                copy = self._disk.load(name)
            except (ValueError, OSError) as error:
                _log.warning("The copy of %s on the disk is left out: %s.", name, error)
                self._count(cache_damaged=1)
                continue
            if copy is not None:
                with self._swapping:
                    server_ms = copy.server_ms(self._clock())
                    self._held = self._held.restored(copy.allocation, server_ms, self._monotonic())
                    self._tables = self._held.tables

    def _woken_by(self, message: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
        """The experiment to read because of a message of the subscription.

        A subscription that has just begun may have missed something: its confirmation counts like a notice.
        """
        if message["type"] not in ("message", "subscribe"):
            return None
        if message["type"] == "message":
            self._count(notices=1)
        channel = message["channel"]
        return names.get(channel.decode() if isinstance(channel, bytes) else str(channel))

    def _take(self, reading: Reading) -> list[Copy]:
        """Hold what a reading brought, and tell listeners; returns what the disk should keep."""
        with self._swapping:
            before = self._held.tables
            self._held, events = self._held.after(reading, self._monotonic())
            self._tables = self._held.tables
            listeners = self._listeners
        for event in events:
            for listener in listeners:
                self._guarded(listener, event)
        if self._disk is None:
            return []
        return [
            Copy(saved_at=self._clock(), server_at=self._server_ms(), allocation=table.allocation)
            for name, table in self._held.tables.items()
            if table.allocation is not None
            and (name not in before or before[name].allocation is not table.allocation)
        ]

    def _keep(self, copies: Iterable[Copy]) -> None:
        """Write copies to the disk; one that cannot be written is counted and tried again with the next revision."""
        for copy in copies:
            assert self._disk is not None
            try:
                self._disk.save(copy)
            except OSError as error:
                _log.warning("The allocation of %s is not kept: %s.", copy.allocation.experiment_id, error)
                self._count(cache_errors=1)

    def _server_ms(self) -> int:
        """The server's clock, as far as it is known."""
        known = self._held.clock.now(self._monotonic())
        return self._clock() if known is None else known

    def _due_reports(self) -> dict[str, str]:
        """Notes to leave with the server now, if it is there; none without its clock, which dates them."""
        if not (self._answered and self._held.clock.measured):
            return {}
        return self._reports.due(self._held.tables, self._monotonic())

    def _queue_reports(self, pipeline: Any, notes: Mapping[str, str]) -> None:
        """The commands that put these notes in the place of the last ones."""
        now, keep_ms = self._server_ms(), self._reports.keep_ms
        for name, note in notes.items():
            serving.leave(pipeline, name, note, self._reports.last.get(name), now, keep_ms)

    def _queue_withdrawals(self, pipeline: Any) -> bool:
        """The commands that take the notes back; False where the server has none, or was not there a moment ago."""
        for name, note in self._reports.last.items():
            serving.withdraw(pipeline, name, note)
        return self._answered and bool(self._reports.last)

    def _reported(self, notes: Mapping[str, str], replies: Iterable[Any]) -> None:
        """Count what became of notes; a user without the right to leave them is no reason to say so again and again."""
        if any(isinstance(reply, Exception) for reply in replies):
            self._count(reports_refused=1)
        else:
            self._reports.last |= notes
            self._count(reports=1)

    def _expose(self, experiment_id: str, unit_id: str, found: Assignment, context: Mapping[str, Any] | None) -> None:
        variant, epoch, propensity, reason, revision = found
        if self._on_exposure is None or variant is None or epoch is None or propensity is None or revision is None:
            return  # nobody asked, or no allocation chose
        at = self._server_ms()
        exposure = Exposure(experiment_id, unit_id, variant, epoch, propensity, revision, reason, at, context)
        self._guarded(self._on_exposure, exposure)

    def _guarded(self, hook: Callable[[Any], None], what: Any) -> None:
        """Call somebody else's code, whose exceptions must not become an answer's."""
        try:
            hook(what)
        except Exception:
            _log.exception("a hook of the flag client failed")
            self._count(hook_errors=1)

    def _count(self, **more: int) -> None:
        with self._swapping:
            self._held = self._held.counting(**more)

    def _park(self) -> None:
        """In a forked child: put the tables aside, so that the first question brings them and the polling back."""
        self._parked, self._tables = self._tables or self._parked, {}
        self._answered = False
        self._swapping = threading.Lock()
        self._reports = Reports(self._settings.report_seconds, client_name())  # it is a client of its own

    def _unpark(self) -> None:
        if self._parked:
            self._tables, self._parked = self._parked, {}
