"""What people order: create, start, hold, resume, halt, stop, conclude and update, each a synchronous write.

Every order enters the log before it takes effect, then one compare-and-set publishes it; a lost race is run again.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from trimtab.client._changes import changed, check_variant, first_parts, fit, in_words, without
from trimtab.client._keys import keyring_of
from trimtab.errors import ConfigurationError, Conflict, IllegalTransition, InvalidInput, NotFound
from trimtab.ids import partition_of
from trimtab.ports import EventLog, Publication, PublicationStore, Published
from trimtab.schema.base import PARTS
from trimtab.schema.control import ControlEntry, Define, StatusChange
from trimtab.schema.decision import Act, LedgerEntry
from trimtab.schema.event import CONTROL_FIELD
from trimtab.schema.experiment import Experiment, Status, transition
from trimtab.schema.keys import PartitionKeys
from trimtab.succession import Change, announce_epoch, redraft, succeed

ATTEMPTS = 20  # an order races recomputes that come once a second at most: losing twice is rare, 20 times absurd
DEFAULT_PARTITIONS = 1

class Control:
    """Orders to experiments; every order returns the new revision, and names who gave it in the ledger.

    Raises, from every method: `NotFound` for an experiment that does not exist, `Unavailable` if the data server does
    not answer, `IllegalTransition` where the experiment's status does not allow the order.
    """

    def __init__(
        self, redis_url: str | None = None, *, by: str | None = None, signing_secret: str | None = None
    ) -> None:
        from trimtab.adapters.redis.connection import connect
        from trimtab.adapters.redis.publication import RedisPublications
        from trimtab.adapters.redis.stream import RedisLog

        client = connect(redis_url)
        self._publications: PublicationStore = RedisPublications(client)
        keyring = keyring_of(signing_secret)
        self._log: Callable[[int], EventLog] = lambda partition: RedisLog(client, partition, keyring)
        self._by = by or getpass.getuser()

    @classmethod
    def over(cls, publications: PublicationStore, log: Callable[[int], EventLog], *, by: str) -> Self:
        """Control over stores that exist already; `log` gives a partition's log."""
        control = cls.__new__(cls)
        control._publications, control._log, control._by = publications, log, by
        return control

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    def show(self, experiment_id: str) -> Published:
        """The public side of an experiment."""
        found = self._publications.read(experiment_id)
        if found is None:
            known = ", ".join(self._publications.experiments()[:10]) or "none"
            raise NotFound(f"There is no experiment {experiment_id!r}; those that exist: {known}.")
        return found

    def list(self) -> list[Published]:
        """All experiments, by id."""
        return [self.show(name) for name in self._publications.experiments()]

    def explain(self, experiment_id: str, number: int | None = None) -> LedgerEntry:
        """Ledger entry `number`, or the newest one."""
        self.show(experiment_id)
        if number is not None:
            entry = self._publications.ledger_entry(experiment_id, number)
        else:
            entry = next(iter(self._publications.ledger(experiment_id, 1)), None)
        if entry is None:
            what = "no decision yet; start it first" if number is None else f"no decision {number} in its ledger"
            raise NotFound(f"Experiment {experiment_id!r} has {what}.")
        return entry

    def partition(self, experiment_id: str) -> int:
        """The partition whose log takes the experiment's events."""
        partitions = self._publications.partitions()
        if partitions is None:
            raise NotFound("There is no log yet; create an experiment first.")
        return partition_of(experiment_id, partitions)

    def stream_key(self, experiment_id: str) -> str:
        """The Redis stream that a foreign producer writes the experiment's events to."""
        return PartitionKeys(self.partition(experiment_id)).events

    # ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, definition: Experiment | Mapping[str, Any], *, partitions: int = DEFAULT_PARTITIONS) -> Experiment:
        """Define a new experiment as a draft; `partitions` counts only where no log exists yet.

        Raises:
            ConfigurationError: the definition contradicts itself (one sentence names the field), or the id is taken.
        """
        experiment = definition if isinstance(definition, Experiment) else Experiment.parse(definition)
        if self._publications.read(experiment.id) is not None:
            raise ConfigurationError(f"Experiment {experiment.id!r} exists already; choose another id.", field="id")
        self._publications.create_log(partitions)
        self._publications.publish(Publication(experiment, Status.DRAFT, expected_revision=0, allocation=None))
        self._define(experiment, revision=1)
        return experiment

    def start(self, experiment_id: str, *, reason: str = "", by: str | None = None) -> int:
        """Publish the initial weights and begin to count outcomes."""

        def attempt(current: Published) -> int:
            experiment = current.experiment
            transition(experiment_id, current.status, Status.RUNNING)
            if current.status is not Status.DRAFT:
                raise IllegalTransition(f"Experiment {experiment_id!r} was started already; after a hold, resume it.")
            self._define(experiment, current.revision + 1)
            self._announce_status(experiment_id, Status.RUNNING)
            parts = first_parts(experiment)
            sentence = f"Started with {in_words(parts)}" + (f": {reason}" if reason else ".")
            return self._act("start", current, by, sentence, status=Status.RUNNING, parts=parts)

        return self._attempt(experiment_id, attempt)

    def hold(self, experiment_id: str, *, reason: str, by: str | None = None) -> int:
        """Keep the weights as they are until `resume`; outcomes are still counted."""

        def attempt(current: Published) -> int:
            transition(experiment_id, current.status, Status.HELD)
            self._announce_status(experiment_id, Status.HELD)
            return self._act("hold", current, by, f"Held: {reason}", status=Status.HELD, paused=reason)

        return self._attempt(experiment_id, attempt)

    def resume(self, experiment_id: str, *, reason: str = "", by: str | None = None) -> int:
        """Let weights move again after a hold, and let halted variants come back."""

        def attempt(current: Published) -> int:
            if current.status is Status.HELD:
                self._announce_status(experiment_id, Status.RUNNING)
            elif not (current.status is Status.RUNNING and current.halted):
                transition(experiment_id, current.status, Status.RUNNING)
            # What halted them is still in the statistics; who resumes them takes that upon himself.
            excused = tuple(sorted({*current.excused, *current.halted}))
            back = f"; {', '.join(current.halted)} may have traffic again" if current.halted else ""
            sentence = f"Resumed{back}" + (f": {reason}" if reason else ".")
            return self._act(
                "resume", current, by, sentence, status=Status.RUNNING, paused="", halted=(), excused=excused
            )

        return self._attempt(experiment_id, attempt)

    def halt(self, experiment_id: str, variant: str | None = None, *, reason: str, by: str | None = None) -> int:
        """Send `variant` (or everything but control) to 0 at once, until `resume`; the others share what it had.

        Raises:
            InvalidInput: the variant is unknown, or is the control, which everybody falls back to.
        """

        def attempt(current: Published) -> int:
            experiment = current.experiment
            if current.status not in (Status.RUNNING, Status.HELD):
                raise IllegalTransition(f"Experiment {experiment_id!r} is {current.status}; nothing runs to be halted.")
            if variant == experiment.control:
                raise InvalidInput(
                    f"{variant!r} is the control of {experiment_id!r} and cannot be halted; conclude another variant.",
                    variant=variant,
                )
            check_variant(experiment, variant)
            others = [name for name in experiment.active_ids if name != experiment.control]
            halted = tuple(dict.fromkeys([*current.halted, *([variant] if variant else others)]))
            parts = without(current.parts, halted, experiment)
            sentence = f"Halted {variant or 'every variant but control'}: {reason}"
            return self._act("halt", current, by, sentence, parts=parts, halted=halted)

        return self._attempt(experiment_id, attempt)

    def stop(self, experiment_id: str, *, reason: str = "", by: str | None = None) -> int:
        """Stop counting and deciding; the weights stay in force."""

        def attempt(current: Published) -> int:
            transition(experiment_id, current.status, Status.STOPPED)
            self._announce_status(experiment_id, Status.STOPPED)
            sentence = "Stopped; the weights stay in force" + (f": {reason}" if reason else ".")
            return self._act("stop", current, by, sentence, status=Status.STOPPED)

        return self._attempt(experiment_id, attempt)

    def conclude(self, experiment_id: str, variant: str, *, reason: str = "", by: str | None = None) -> int:
        """End the experiment: everybody sees `variant` from now on.

        Raises:
            InvalidInput: the variant is unknown.
        """

        def attempt(current: Published) -> int:
            experiment = current.experiment
            check_variant(experiment, variant)
            transition(experiment_id, current.status, Status.CONCLUDED)
            self._announce_status(experiment_id, Status.CONCLUDED)
            parts = {name: PARTS if name == variant else 0 for name in experiment.variant_ids}
            sentence = f"Concluded with {variant} for everybody" + (f": {reason}" if reason else ".")
            return self._act("conclude", current, by, sentence, status=Status.CONCLUDED, parts=parts, halted=())

        return self._attempt(experiment_id, attempt)

    def update(
        self, experiment_id: str, changes: Mapping[str, Any], *, reason: str = "", by: str | None = None
    ) -> int:
        """Change an experiment: anything but id and salt while it is a draft, later only what
        `_changes.CHANGEABLE` lists.

        Constraints that are not named keep their values, unless a preset is. Variants may be added and retired once the
        experiment runs, never removed: a new one has no traffic until the next decision, a retired one none at once.

        Raises:
            ConfigurationError: the change is not allowed, or the new definition contradicts itself.
        """

        return self._update(experiment_id, lambda current: changes, reason, by)

    def add_variant(
        self,
        experiment_id: str,
        variant: str,
        *,
        weight: float | None = None,
        reason: str = "",
        by: str | None = None,
    ) -> int:
        """Add a variant to a live experiment.

        The next decision serves it at its entry `weight`, a share; default: .05, or its floor where that is more. There
        it waits, while the others move, until it has `min_trials` trials of its own; then its evidence counts.
        """

        def addition(current: Published) -> dict[str, Any]:
            known = [v.model_dump(mode="json") for v in current.experiment.variants]
            return {"variants": [*known, {"id": variant, "entry_weight": weight}]}

        return self._update(experiment_id, addition, reason, by)

    def retire_variant(self, experiment_id: str, variant: str, *, reason: str = "", by: str | None = None) -> int:
        """Serve `variant` to nobody any more, for good; what it had goes to the others in proportion.

        Raises:
            InvalidInput: the variant is unknown, or retired already.
        """

        def retirement(current: Published) -> dict[str, Any]:
            check_variant(current.experiment, variant)
            known = [v.model_dump(mode="json") for v in current.experiment.variants]
            return {"variants": [{**v, "retired": v["retired"] or v["id"] == variant} for v in known]}

        return self._update(experiment_id, retirement, reason, by)

    def _update(
        self,
        experiment_id: str,
        changes_to: Callable[[Published], Mapping[str, Any]],
        reason: str,
        by: str | None,
    ) -> int:
        def attempt(current: Published) -> int:
            changes = changes_to(current)
            experiment = changed(current, changes)
            self._define(experiment, current.revision + 1)
            if current.status is Status.DRAFT:
                self._publications.publish(redraft(current, experiment, self._log_of(experiment_id).now()))
                return current.revision + 1
            sentence = f"Changed {', '.join(sorted(changes))}" + (f": {reason}" if reason else ".")
            parts = {name: current.parts.get(name, 0) for name in experiment.variant_ids}
            if retired := set(experiment.variant_ids) - set(experiment.active_ids):
                parts = without(parts, (*retired, *current.halted), experiment)
            return self._act("update", current, by, sentence, experiment=experiment, parts=parts)

        return self._attempt(experiment_id, attempt)

    # ── how an order is carried out ──────────────────────────────────────────────────────────────────────────────

    def _attempt(self, experiment_id: str, attempt: Callable[[Published], int]) -> int:
        for _ in range(ATTEMPTS - 1):
            try:
                return attempt(self.show(experiment_id))
            except Conflict:
                continue
        return attempt(self.show(experiment_id))

    def _log_of(self, experiment_id: str) -> EventLog:
        return self._log(self.partition(experiment_id))

    def _write(self, experiment_id: str, entry: Callable[[int], ControlEntry]) -> None:
        log = self._log_of(experiment_id)
        log.append(CONTROL_FIELD, entry(log.now()).model_dump_json().encode())

    def _define(self, experiment: Experiment, revision: int) -> None:
        self._write(experiment.id, lambda at: Define(at=at, experiment=experiment, revision=revision))

    def _announce_status(self, experiment_id: str, status: Status) -> None:
        self._write(experiment_id, lambda at: StatusChange(at=at, experiment_id=experiment_id, status=status))

    def _act(
        self,
        act: Literal["start", "hold", "resume", "halt", "stop", "conclude", "update"],
        current: Published,
        by: str | None,
        sentence: str,
        *,
        experiment: Experiment | None = None,
        status: Status | None = None,
        parts: Mapping[str, int] | None = None,
        halted: tuple[str, ...] | None = None,
        paused: str | None = None,
        excused: tuple[str, ...] | None = None,
    ) -> int:
        """Publish an order; new parts are announced as a new epoch first."""
        experiment, sentence = experiment or current.experiment, fit(sentence)
        log = self._log_of(experiment.id)
        now = log.now()
        new_parts = dict(current.parts if parts is None else parts)
        epoch = current.allocation.epoch if current.allocation else 0
        if new_parts != current.parts:
            epoch = announce_epoch(log, current, new_parts, now)
        change = Change(
            experiment=experiment,
            status=status or current.status,
            epoch=epoch,
            parts=new_parts,
            reason=sentence,
            now=now,
            data_until=current.allocation.data_until if current.allocation else 0,
            changed_at=current.changed_at,
            halted=current.halted if halted is None else halted,
            paused=current.paused if paused is None else fit(paused),
            excused=excused,
        )
        entry = Act(
            decision_id=current.decision_id + 1,
            experiment_id=experiment.id,
            revision=current.revision + 1,
            epoch=epoch,
            act=act,
            by=fit(by or self._by),
            decided_at=now,
            parts=new_parts,
            sentence=sentence,
        )
        self._publications.publish(succeed(current, change, entry))
        return entry.revision
