"""What control entries do to the state: each order is carried out at its place in the log, once and for all."""

from __future__ import annotations

from collections import Counter

from pydantic import ValidationError

from trimtab.fold.decode import Control, letter
from trimtab.fold.findings import Findings
from trimtab.fold.limits import Refusals
from trimtab.fold.state import CLOSED, Cell, EpochRecord, ExperimentState
from trimtab.schema.constraints import Constraints
from trimtab.schema.control import Compaction, Define, EpochStart, LossAccepted, Signing, StatusChange
from trimtab.schema.dead_letter import DeadLetter, DeadLetterCode
from trimtab.schema.experiment import MAX_VARIANTS, Experiment, Status, Variant, may_become


def carry_out(found: Findings, item: Control) -> DeadLetter | None:
    """Apply one control entry; a letter where it speaks of an experiment that the log does not know."""
    match item.order:
        case Define() as order:
            _define(found, order)
            return None
        case Signing() as rules:
            if rules.follows(found.state.signing):
                found.state.signing = rules
        case LossAccepted(lost=lost):
            found.state.counters["lost"] += lost
        case EpochStart() | StatusChange() | Compaction() as order:
            owner = found.own(order.experiment_id)
            if owner is None:
                detail = f"no experiment {order.experiment_id!r} is defined before this entry"
                return letter(item.entry, DeadLetterCode.UNKNOWN_EXPERIMENT, detail)
            found.redefined.add(order.experiment_id)
            _change(found, owner, order)
    return None


def _define(found: Findings, order: Define) -> None:
    experiment = order.experiment
    owner = found.own(experiment.id)
    if owner is not None and 0 < order.revision < owner.revision:
        return  # who wrote it had stood still since; it could only be published by losing, and being written anew
    found.redefined.add(experiment.id)
    if owner is None:
        found.touched.add(experiment.id)
        found.state.experiments[experiment.id] = ExperimentState(experiment, order.revision)
        return
    owner.revision = max(owner.revision, order.revision)
    if owner.status is not Status.DRAFT:
        experiment = _as_it_may_change(owner.definition, experiment)
    if owner.epoch_in_force is not None:
        for variant in experiment.variant_ids:
            if variant not in owner.definition.variant_ids:
                owner.entered[variant] = owner.epoch_in_force
    owner.definition = experiment


def _as_it_may_change(before: Experiment, after: Experiment) -> Experiment:
    """What a live experiment's definition becomes: its variants only grow, what its statistics mean stays.

    Two orders may be written to the log before one of them wins the right to be published. The loser's words stay in
    the log, so they must do no harm: a variant too many costs nothing, one too few would refuse its events.
    """
    known = {variant.id: variant for variant in before.variants} | {variant.id: variant for variant in after.variants}
    fixed = {"metrics": before.metrics, "unit": before.unit, "control": before.control, "salt": before.salt}
    # A ratio that a loser brings back may not know what was added meanwhile.
    ratio = after.assignment_ratio if set(after.assignment_ratio or ()) == set(known) else None
    cap = after.max_outcomes_per_unit_hour if before.unit == "event" else None
    moving = {"variants": tuple(known.values()), "assignment_ratio": ratio, "max_outcomes_per_unit_hour": cap}
    together = after.model_copy(update=moving | fixed)
    return together if _can_be_read(together) else _without_limits(before, together)


def _can_be_read(experiment: Experiment) -> bool:
    """Whether a state with this definition could be loaded again."""
    try:
        Experiment.model_validate_json(experiment.model_dump_json())
    except ValidationError:
        return False
    return True


def _without_limits(before: Experiment, together: Experiment) -> Experiment:
    """Two definitions that contradict each other, such as by floors of more variants than they fit, as one.

    It has what the fold asks for: variants, tokens and cap. Limits and first weights are those of what is published.
    """
    added = [Variant(id=name) for name in together.variant_ids if name not in before.variant_ids]
    update = {
        "variants": (*before.variants, *added)[:MAX_VARIANTS],
        "assignment_ratio": None,
        "constraints": Constraints(min_weight=0),
        "exposure_tokens": together.exposure_tokens,
        "max_outcomes_per_unit_hour": together.max_outcomes_per_unit_hour,
    }
    return before.model_copy(update=update)


def _change(found: Findings, owner: ExperimentState, order: EpochStart | StatusChange | Compaction) -> None:
    match order:
        case EpochStart():
            if order.epoch <= max((*owner.epochs, *owner.merged), default=0):
                return  # announced before: somebody saw it and sends it again
            owner.epochs[order.epoch] = EpochRecord(order.at, order.parts)
            owner.counters["epochs"] = len(owner.epochs)
        case StatusChange():
            if may_become(owner.status, order.status):
                owner.status = order.status
                if owner.status is Status.RUNNING:
                    owner.refusals = Refusals()  # what was refused before is what the person who starts it has seen
            if owner.status in CLOSED:
                found.closed.add(order.experiment_id)
        case Compaction():
            _compact(owner, order.into)
            owner.counters["epochs"] = len(owner.epochs)
            found.regrouped.add(order.experiment_id)


def _compact(owner: ExperimentState, into: dict[int, int]) -> None:
    """Merge epochs: their cells, their trials, what they served, and the way of whatever still arrives for them."""
    moves = {old: new for old, new in into.items() if old in owner.epochs and new in owner.epochs and new not in into}
    owner.merged = {old: moves.get(new, new) for old, new in owner.merged.items()} | moves
    for (epoch, variant, metric), cell in list(owner.cells.items()):
        if epoch in moves:
            del owner.cells[epoch, variant, metric]
            target = (moves[epoch], variant, metric)
            owner.cells[target] = owner.cells.get(target, Cell()) + cell
    _merge_parts(owner, moves)
    for counts in (owner.trials, owner.stamped):
        for (epoch, variant), n in list(counts.items()):
            if epoch in moves:
                del counts[epoch, variant]
                counts[moves[epoch], variant] = counts.get((moves[epoch], variant), 0) + n
    for old in moves:
        del owner.epochs[old]


def _merge_parts(owner: ExperimentState, moves: dict[int, int]) -> None:
    """What a merged epoch served: the average of its members by units, so that what was expected stays expected."""
    units: Counter[int] = Counter()
    for (epoch, _), n in owner.stamped.items():
        units[epoch] += n
    for new in sorted(set(moves.values())):
        members = [new, *(old for old, target in moves.items() if target == new)]
        weights = [units[member] for member in members] if any(units[m] for m in members) else [1] * len(members)
        served = [owner.epochs[member].parts for member in members]
        total = sum(weights)
        names = sorted({variant for parts in served for variant in parts})
        mixed = {v: sum(w * parts.get(v, 0) for w, parts in zip(weights, served, strict=True)) for v in names}
        parts = {variant: mass // total for variant, mass in mixed.items()}
        largest = max(names, key=lambda variant: (mixed[variant], variant))
        parts[largest] += sum(served[0].values()) - sum(parts.values())  # what rounding down left over
        owner.epochs[new] = EpochRecord(owner.epochs[new].started_at, parts)
