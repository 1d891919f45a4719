"""The recompute: statistics in, a decision out, published if nobody was faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog

from trimtab.engine import Cells, Result, decide, estimate_inputs, retention
from trimtab.errors import Conflict, CorruptState, IllegalTransition, LogGap, NotFound
from trimtab.fold import ExperimentState, PartitionState
from trimtab.fold.state import CLOSED
from trimtab.inference import Harm
from trimtab.ports import PartitionStore, PublicationStore, Published
from trimtab.schema.decision import Decision, HoldCode, Inputs, Outcome, Reason
from trimtab.schema.experiment import Status
from trimtab.succession import FINAL, Change, announce_epoch, fresh_milliseconds, succeed
from trimtab_worker.services.evidence import (
    distrust,
    find_harm,
    gather_cells,
    look_again,
    parse_tests,
    split_sums,
    tests_json,
)
from trimtab_worker.services.ingest import check_gap

# Unread entries or a silent drain make data stale after one and a half recompute periods, half the time that weights
# are fresh for, and never within half a minute: a worker's restart takes some seconds.
STALE_AT_LEAST_MS = 30_000
OVERDUE_PERIODS = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reallocate:
    """Decides and publishes; `partition` gives the store of an experiment's partition."""

    publications: PublicationStore
    partition: Callable[[str], PartitionStore]

    def recompute(self, experiment_id: str, *, dry_run: bool = False, attempts: int = 1) -> Decision:
        """Decide once; unless `dry_run`, publish the decision, hold or move, under a new revision.

        `attempts` says how often to begin again where somebody else published meanwhile.

        Raises:
            NotFound: there is no such experiment.
            IllegalTransition: it is not live, so that there is nothing to decide.
            Conflict: somebody else published meanwhile, at the last attempt too.
        """
        for _ in range(attempts - 1):
            try:
                return self._recompute(experiment_id, dry_run)
            except Conflict:
                continue
        return self._recompute(experiment_id, dry_run)

    def _recompute(self, experiment_id: str, dry_run: bool) -> Decision:
        current = self.publications.read(experiment_id)
        if current is None:
            raise NotFound(f"There is no experiment {experiment_id!r}.")
        if current.allocation is None or current.status in FINAL:
            raise IllegalTransition(f"Experiment {experiment_id!r} is {current.status}: there is nothing to recompute.")
        store = self.partition(experiment_id)
        now, partition = store.now(), store.load()
        state = store.load_experiments([experiment_id])[experiment_id]
        facts = (
            *_disagreement(current, state),
            *_facts(store, partition, current, now),
            *distrust(current.experiment, state),
        )
        cells = gather_cells(current.experiment, split_sums(current.experiment, state))
        found = tuple(find_harm(current.experiment, cells))
        harms = tuple(harm for harm in found if harm.treatment not in current.excused)
        inputs = gather(current, state, cells, facts, harms, now, clock=partition.clock)
        decision = _decision(current, decide(inputs), inputs, harms, data_until=partition.clock)
        if not dry_run:
            tests = look_again(current.experiment, cells, parse_tests(current.claims)) if state else {}
            decision = self._publish(store, current, decision, tests_json(tests), still_excused(current, found))
        return decision

    def due(self, now: int) -> list[str]:
        """Experiments whose recompute slot began and was not claimed yet; `now` in milliseconds."""
        return [current.experiment.id for current in self._live() if self._claims(current, now)]

    def overdue(self, partition: int, now: int) -> list[str]:
        """Live experiments of a partition whose decision is late by two periods: nobody ticks."""
        return [
            current.experiment.id
            for current in self._live()
            if current.allocation
            and now - current.allocation.computed_at > OVERDUE_PERIODS * current.experiment.recompute_seconds * 1000
            and self.partition(current.experiment.id).partition == partition
        ]

    def _live(self) -> Iterator[Published]:
        for name in self.publications.experiments():
            try:
                current = self.publications.read(name)
            except CorruptState as error:  # one experiment's trouble is no reason to leave the others alone
                log.error("experiment_unreadable", experiment=name, reason=str(error))
                continue
            if current is not None and current.status in (Status.RUNNING, Status.HELD):
                yield current

    def _claims(self, current: Published, now: int) -> bool:
        period = current.experiment.recompute_seconds
        return self.publications.claim_tick(current.experiment.id, int(now / (period * 1000)), 2 * period)

    def _publish(
        self, store: PartitionStore, current: Published, decision: Decision, claims: str, excused: tuple[str, ...]
    ) -> Decision:
        """Publish the decision; one that changes weights is announced in the log first."""
        moves = decision.outcome is not Outcome.HOLD
        name = current.experiment.id
        epoch = announce_epoch(store, current, decision.parts, decision.decided_at) if moves else decision.epoch
        decision, repeats = self._continue_run(current, decision.model_copy(update={"epoch": epoch}))
        change = Change(
            experiment=current.experiment,
            status=current.status,
            epoch=epoch,
            parts=decision.parts,
            reason=decision.sentence,
            now=decision.decided_at,
            data_until=decision.data_until,
            changed_at=decision.decided_at if moves else current.changed_at,
            halted=decision.inputs.halted,
            paused=current.paused,
            claims=claims,
            excused=excused,
        )
        self.publications.publish(succeed(current, change, decision, repeats=repeats))
        log.info(
            "decided",
            experiment=name,
            decision=decision.decision_id,
            outcome=decision.outcome.value,
            revision=decision.revision,
            epoch=epoch,
            reasons=[reason.code.value for reason in decision.reasons],
        )
        return decision

    def _continue_run(self, current: Published, decision: Decision) -> tuple[Decision, int]:
        """A hold for the same reasons as the last entry's takes that entry's place and counts on."""
        last = next(iter(self.publications.ledger(current.experiment.id, 1)), None)
        if not isinstance(last, Decision) or not decision.reasons or _reasons(last) != _reasons(decision):
            return decision, 0
        run = {
            "decision_id": last.decision_id,
            "count": last.count + 1,
            "first_decided_at": last.first_decided_at or last.decided_at,
        }
        return decision.model_copy(update=run), current.repeats + 1


def gather(
    current: Published,
    state: ExperimentState | None,
    cells: Mapping[str, Cells],
    facts: tuple[Reason, ...],
    harms: tuple[Harm, ...],
    now: int,
    *,
    clock: int,
) -> Inputs:
    """The sufficient inputs of a decision: the estimator run over the primary metric's cells, epoch by epoch.

    What the experiment forgets is forgotten here, on the log's `clock`; tests, harm and split see `cells` as they are.
    """
    experiment = current.experiment
    halted = dict.fromkeys([*current.halted, *(harm.treatment for harm in harms)])
    return estimate_inputs(
        cells[experiment.primary_metric.name],
        experiment,
        previous={variant: current.parts.get(variant, 0) for variant in experiment.active_ids},
        now=now,
        changed_at=current.changed_at,
        halted=[variant for variant in halted if variant in experiment.active_ids],
        entered_later=[variant for variant in (state.entered if state else ()) if variant in experiment.active_ids],
        facts=facts,
        retained=_retained(experiment.half_life_seconds, state, clock),
    )


def still_excused(current: Published, found: Iterable[Harm]) -> tuple[str, ...]:
    """Variants that a person resumed in spite of harm that is still found; any other is guarded as before.

    What was halted for another reason has none to be excused, and new harm is not what the person knew of.
    """
    harming = {harm.treatment for harm in found}
    return tuple(variant for variant in current.excused if variant in harming)


def _retained(half_life_seconds: float | None, state: ExperimentState | None, clock: int) -> dict[int, float] | None:
    if half_life_seconds is None or state is None:
        return None
    return retention({epoch: record.started_at for epoch, record in state.epochs.items()}, clock, half_life_seconds)


def _disagreement(current: Published, state: ExperimentState | None) -> Iterator[Reason]:
    """The log stopped the experiment, but whoever ordered it died before it was published."""
    if state is not None and state.status in CLOSED:
        order = "stop" if state.status is Status.STOPPED else "conclude"
        yield Reason(
            code=HoldCode.NOT_RUNNING,
            sentence=f"The log has {state.status} this experiment and takes no outcomes; order the {order} again.",
        )


def _facts(store: PartitionStore, partition: PartitionState, current: Published, now: int) -> Iterator[Reason]:
    """Holds that statistics do not show, in the order in which they are asked."""
    if current.status is Status.HELD:
        yield Reason(code=HoldCode.PAUSED, sentence=f"A person holds the weights: {current.paused}")
    limit = max(STALE_AT_LEAST_MS, fresh_milliseconds(current.experiment) // 2)
    yield from _staleness(store, partition, now, limit)
    try:
        check_gap(store, partition)
    except LogGap as gap:
        yield Reason(code=HoldCode.LOG_GAP, sentence=str(gap))
    if current.restored:
        yield Reason(
            code=HoldCode.RESTORED,
            sentence="The data server was restarted or restored since the last decision, so its newest publications "
            "may be lost; the weights it has are published once more, under a new incarnation.",
        )


def _staleness(store: PartitionStore, partition: PartitionState, now: int, limit: int) -> Iterator[Reason]:
    drained_at = store.drained_at()
    if drained_at is None or now - drained_at > limit:
        silence = "has ever reported" if drained_at is None else f"has reported for {(now - drained_at) / 1000:.0f} s"
        yield Reason(
            code=HoldCode.STALE,
            sentence=f"No ingest worker {silence}, so outcomes may be missing; start one.",
            numbers={} if drained_at is None else {"silent_seconds": (now - drained_at) / 1000},
        )
        return
    unread = next(iter(store.read(partition.cursor.id, 1)), None)
    if unread is not None and now - unread.milliseconds > limit:
        age = (now - unread.milliseconds) / 1000
        yield Reason(
            code=HoldCode.STALE,
            sentence=f"Outcomes have been waiting unread for {age:.0f} s; weights move again once they are folded.",
            numbers={"oldest_unread_seconds": age},
        )


def _decision(
    current: Published, result: Result, inputs: Inputs, harms: tuple[Harm, ...], *, data_until: int
) -> Decision:
    allocation = current.allocation
    harm = " ".join(found.sentence for found in harms if found.treatment not in current.halted)
    assert allocation is not None, "only published experiments are decided on"
    return Decision(
        decision_id=current.decision_id + 1,
        experiment_id=current.experiment.id,
        revision=current.revision + 1,
        epoch=allocation.epoch,
        outcome=result.outcome,
        decided_at=inputs.now,
        data_until=max(data_until, allocation.data_until),
        inputs=inputs,
        posterior=result.posterior,
        proposal=result.proposal,
        basis=result.basis,
        verdicts=result.verdicts,
        parts={variant: result.parts.get(variant, 0) for variant in current.experiment.variant_ids},
        reasons=result.reasons,
        sentence=f"{result.sentence} {harm}".strip(),
        would_move=result.would_move,
    )


def _reasons(decision: Decision) -> list[HoldCode]:
    """Codes of a hold; a move has none, so the two never look alike."""
    return [reason.code for reason in decision.reasons]


