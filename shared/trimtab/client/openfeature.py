"""The OpenFeature provider: experiments as flags, whose variants the flag client chooses; outcomes by `track`.

::

    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from trimtab.client.openfeature import TrimtabProvider

    api.set_provider_and_wait(TrimtabProvider(experiments=["checkout"]))
    api.get_client().get_string_value("checkout", "control", EvaluationContext("user-1"))

A flag's key is the experiment's id, the targeting key the unit. Needs the extra `flags`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimtab.client._assignments import Assignment, Reason
from trimtab.client._flag_values import NoValue, Served, Values, metrics_of, outcome, served_from, value_of
from trimtab.client._holdings import FlagEvent, FlagEventKind
from trimtab.client._reading import is_slug
from trimtab.client.flags import FlagClient
from trimtab.client.publisher import Publisher
from trimtab.clock import Clock, system_clock
from trimtab.errors import MissingExtra, TrimtabError

try:
    from openfeature import flag_evaluation
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.event import ProviderEventDetails
    from openfeature.exception import ErrorCode, ProviderNotReadyError
    from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
    from openfeature.provider import AbstractProvider, Metadata
    from openfeature.track import TrackingEventDetails
except ImportError as error:
    raise MissingExtra("openfeature is not installed; it comes with an extra: pip install 'trimtab[flags]'.") from error

__all__ = ["TrackCounts", "TrimtabProvider"]

_log = logging.getLogger("trimtab.client")

REMEMBERED_UNITS = 100_000  # some 20 MB of the units evaluated last, whose outcomes can be tracked by their key alone

ObjectValue = Sequence[FlagValueType] | Mapping[str, FlagValueType]


@dataclass(frozen=True, slots=True)
class TrackCounts:
    """What became of tracked actions."""

    published: int = 0  # handed to the publisher as an outcome event
    unknown: int = 0  # no targeting key, no experiment, or nobody knows what the unit was served
    refused: int = 0  # the publisher did not take it: no publisher, a full buffer, a value that is no number


class TrimtabProvider(AbstractProvider):
    """Evaluates from memory, and emits READY, CONFIGURATION_CHANGED, STALE and ERROR.

    Metadata of an evaluation are `experiment`, `epoch`, `revision` and `propensity`. A fork is the flag client's
    business, which polls for itself in the child.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        experiments: Iterable[str] = (),
        flags: FlagClient | None = None,
        publisher: Publisher | None = None,
        values: Values | None = None,
        remember: int = REMEMBERED_UNITS,
        clock: Clock = system_clock,
        **settings: Any,
    ) -> None:
        """Opens nothing before the SDK initialises it.

        Args:
            redis_url: address of the data server; default: REDIS_URL, else a local `trimtab up`.
            experiments: ids to know from the start; others are read when they are first asked for.
            flags: a flag client to use in place of an address; it stays yours to close.
            publisher: takes the outcomes of `track`; it stays yours to close. Without one they are refused.
            values: experiment → variant → value, for flags that are no texts.
            remember: how many evaluations to remember for `track`, the newest.
            clock: returns the time in milliseconds; dates outcomes.
            settings: further arguments of `FlagClient`.
        """
        self._make_flags: Callable[[], FlagClient] = lambda: FlagClient(
            redis_url, experiments=experiments, **settings
        )
        self._owns_flags = flags is None
        self._flags = flags
        self._publisher, self._clock = publisher, clock
        self._values = values or {}
        self._remember = remember
        self._evaluated: OrderedDict[tuple[str, str], Served] = OrderedDict()
        self._lock = threading.Lock()
        self._tracked = TrackCounts()
        self._ready = False
        self._stop_listening: Callable[[], None] | None = None

    def get_metadata(self) -> Metadata:
        return Metadata(name="trimtab")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Read the experiments named, in bounded time.

        Raises:
            ProviderNotReadyError: nothing could be read, not even from the disk; READY follows when something is.
        """
        if self._flags is None:
            self._flags = self._make_flags()
        flags = self._flags
        self._stop_listening = flags.listen(self._hear)
        named = flags.experiments
        self._ready = not named or any(flags.allocation(name) for name in named) or flags.refresh()
        if not self._ready:
            raise ProviderNotReadyError("The data server cannot be read yet, and there is no copy on the disk.")

    def shutdown(self) -> None:
        """Stop listening and polling; the provider may be initialised again."""
        if self._stop_listening:
            self._stop_listening()
        if self._owns_flags and self._flags is not None:
            flags, self._flags = self._flags, None
            flags.close()

    @property
    def tracked(self) -> TrackCounts:
        """What became of tracked actions."""
        return self._tracked

    # ── evaluation ───────────────────────────────────────────────────────────────────────────────────────────────

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(bool, flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(str, flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(int, flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve(float, flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: ObjectValue, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[ObjectValue]:
        return self._resolve(dict, flag_key, default_value, evaluation_context)

    async def resolve_boolean_details_async(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        await self._know(flag_key)
        return self.resolve_boolean_details(flag_key, default_value, evaluation_context)

    async def resolve_string_details_async(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        await self._know(flag_key)
        return self.resolve_string_details(flag_key, default_value, evaluation_context)

    async def resolve_integer_details_async(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        await self._know(flag_key)
        return self.resolve_integer_details(flag_key, default_value, evaluation_context)

    async def resolve_float_details_async(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        await self._know(flag_key)
        return self.resolve_float_details(flag_key, default_value, evaluation_context)

    async def resolve_object_details_async(
        self, flag_key: str, default_value: ObjectValue, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[ObjectValue]:
        await self._know(flag_key)
        return self.resolve_object_details(flag_key, default_value, evaluation_context)

    async def _know(self, flag_key: str) -> None:
        """Read an experiment nobody named in a thread, so that the loop does not wait for the server."""
        flags = self._flags
        if flags is not None and is_slug(flag_key) and flag_key not in flags.experiments:
            await asyncio.to_thread(flags.watch, flag_key)

    def _resolve(
        self, kind: type, flag_key: str, default: Any, context: EvaluationContext | None
    ) -> FlagResolutionDetails[Any]:
        unit_id = context.targeting_key if context else None
        if self._flags is None:
            return _failed(default, ErrorCode.PROVIDER_NOT_READY, "The provider is not initialised.")
        found = self._flags.variant(flag_key, unit_id or "", context=context.attributes if context else None)
        allocation = self._flags.allocation(flag_key) if found.epoch is not None else None
        if allocation is None:
            return _without_allocation(found, default, flag_key, unit_id)
        try:
            value = value_of(kind, allocation, found, self._values.get(flag_key))
        except NoValue as problem:
            return _failed(default, ErrorCode.TYPE_MISMATCH, f"{str(problem)[:1].upper()}{str(problem)[1:]}.")
        self._note(flag_key, str(unit_id), found)
        return FlagResolutionDetails(
            value=value,
            variant=found.variant,
            reason=flag_evaluation.Reason(found.reason),
            flag_metadata=_metadata(flag_key, found),
        )

    # ── tracking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def track(
        self,
        tracking_event_name: str,
        evaluation_context: EvaluationContext | None = None,
        tracking_event_details: TrackingEventDetails | None = None,
    ) -> None:
        """Publish what happened to a unit, under the variant and epoch it was served; never raises.

        Only the publisher's first event waits, for its look at the log.

        One call is one outcome event, and a unit counts once in an experiment: send it when the outcome is known, with
        value 0 where nothing happened. The event's name is the metric, its value the number (1 without one), unless the
        attribute `metrics` gives all of them by name. The attribute `experiment` names the experiment where the unit
        was evaluated in several; `variant`, `epoch` and `propensity` say what was served where another process did it.
        """
        unit_id = evaluation_context.targeting_key if evaluation_context else None
        attributes = tracking_event_details.attributes if tracking_event_details else {}
        value = tracking_event_details.value if tracking_event_details else None
        found = self._served(unit_id, attributes) if unit_id else []
        if not found:
            return self._count(unknown=1)
        for experiment_id, served in found:
            try:
                metrics = metrics_of(tracking_event_name, value, attributes)
                event_id = attributes.get("event_id")
                event = outcome(
                    experiment_id,
                    str(unit_id),
                    served,
                    metrics,
                    self._clock(),
                    event_id if isinstance(event_id, str) else None,
                )
                if self._publisher is None:
                    raise ValueError("the provider has no publisher")
                self._publisher.publish(event, timeout=0)
            except (TrimtabError, ValueError, TypeError) as error:
                _log.warning("An outcome of %s was not published: %s", experiment_id, error)
                self._count(refused=1)
            else:
                self._count(published=1)
        return None

    def _served(self, unit_id: str, attributes: Mapping[str, Any]) -> list[tuple[str, Served]]:
        """The experiment an outcome belongs to, and what the unit was served there."""
        named = attributes.get("experiment")
        if isinstance(named, str):
            served = served_from(attributes) or self._evaluated.get((named, unit_id))
            return [(named, served)] if served else []
        known = self._flags.experiments if self._flags else ()
        found = [(name, self._evaluated.get((name, unit_id))) for name in known]
        only = [(name, served) for name, served in found if served]
        return only if len(only) == 1 else []

    def _note(self, experiment_id: str, unit_id: str, found: Assignment) -> None:
        assert found.variant is not None
        assert found.epoch is not None
        assert found.propensity is not None
        with self._lock:
            key = experiment_id, unit_id
            self._evaluated[key] = Served(found.variant, found.epoch, found.propensity)
            self._evaluated.move_to_end(key)
            while len(self._evaluated) > self._remember:
                self._evaluated.popitem(last=False)

    def _count(self, **more: int) -> None:
        with self._lock:
            self._tracked = replace(
                self._tracked, **{name: getattr(self._tracked, name) + n for name, n in more.items()}
            )

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, event: FlagEvent) -> None:
        """The flag client's news in the SDK's words; a new revision that changes no answer is none."""
        details = ProviderEventDetails(flags_changed=[event.experiment_id], metadata=_event_metadata(event))
        match event.kind:
            case FlagEventKind.CHANGED | FlagEventKind.NEW_INCARNATION:
                if not self._ready:
                    self._ready = True
                    self.emit_provider_ready(ProviderEventDetails())
                if event.epoch != event.previous_epoch or event.kind is FlagEventKind.NEW_INCARNATION:
                    self.emit_provider_configuration_changed(details)
            case FlagEventKind.STALE:
                details.message = f"The allocation of {event.experiment_id} has not been renewed in time."
                self.emit_provider_stale(details)
            case FlagEventKind.FRESH:
                if self._flags and not any(map(self._flags.is_stale, self._flags.experiments)):
                    self.emit_provider_ready(ProviderEventDetails())
            case FlagEventKind.IGNORED:
                _log.warning("A document of %s was ignored: %s.", event.experiment_id, event.detail)


def _without_allocation(
    found: Assignment, default: Any, flag_key: str, unit_id: str | None
) -> FlagResolutionDetails[Any]:
    """What an answer without an allocation is called in the SDK's words."""
    if found.reason is Reason.INVALID_UNIT:
        if not unit_id:
            return _failed(default, ErrorCode.TARGETING_KEY_MISSING, "Give the context a targeting key: the unit.")
        return _failed(default, ErrorCode.INVALID_CONTEXT, "The targeting key is no text.")
    if found.reason is Reason.NOT_READY:
        return _failed(default, ErrorCode.PROVIDER_NOT_READY, f"Nothing could be read about {flag_key!r} so far.")
    if found.reason is Reason.STALE:  # with on_stale="default"
        return FlagResolutionDetails(value=default, reason=flag_evaluation.Reason.STALE)
    return _failed(default, ErrorCode.FLAG_NOT_FOUND, f"There is no published experiment {flag_key!r}.")


def _failed(default: Any, code: ErrorCode, message: str) -> FlagResolutionDetails[Any]:
    return FlagResolutionDetails(
        value=default, reason=flag_evaluation.Reason.ERROR, error_code=code, error_message=message
    )


def _metadata(experiment_id: str, found: Assignment) -> dict[str, bool | int | float | str]:
    known = {"epoch": found.epoch, "revision": found.revision, "propensity": found.propensity}
    return {"experiment": experiment_id} | {name: value for name, value in known.items() if value is not None}


def _event_metadata(event: FlagEvent) -> dict[str, bool | str | int | float]:
    known = {"epoch": event.epoch, "revision": event.revision}
    return {name: value for name, value in known.items() if value is not None}
