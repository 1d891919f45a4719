"""`decide`: from the sufficient inputs to the next parts, with every reason. Pure: the ledger replays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.engine.guardrails import Box, make_box
from trimtab.engine.holds import awaiting, find_holds, invalid_input
from trimtab.engine.outlook import basis, blocked_until, next_move, story
from trimtab.engine.posterior import Belief
from trimtab.engine.proposal import Known, propose
from trimtab.engine.verdicts import verdicts
from trimtab.errors import InvalidInput
from trimtab.schema.base import PARTS
from trimtab.schema.decision import HoldCode, Inputs, Outcome, Posterior, Reason, Verdict

_SIGNIFICANT = 12  # digits of reported effects: what is beyond differs between machines


@dataclass(frozen=True)
class Result:
    """What `decide` found; field for field what the ledger's `Decision` takes."""

    outcome: Outcome
    parts: dict[str, int]
    posterior: dict[str, Posterior]
    proposal: dict[str, float]
    basis: str
    verdicts: tuple[Verdict, ...]
    reasons: tuple[Reason, ...]
    sentence: str
    would_move: str


def decide(inputs: Inputs) -> Result:
    """The next parts and why.

    Never raises for bad data: what cannot be decided from is a hold that says so. The order of variants in `inputs`
    does not matter. A halted variant that still has traffic loses it at once, whatever else would hold, unless the
    experiment is not running.
    """
    reasons = find_holds(inputs)
    if any(reason.code is HoldCode.INVALID_INPUT for reason in reasons):
        return _hold(inputs, reasons, {}, {})
    inputs = _sorted(inputs)
    belief = Belief.of(
        inputs.theta,
        inputs.information,
        inputs.precision,
        inputs.prior_sd,
        higher_is_better=inputs.direction == "increase",
    )
    posterior: dict[str, Posterior] = {}
    try:
        posterior = _posterior(inputs, belief)
        box = make_box(
            inputs.variants,
            _previous(inputs),
            inputs.constraints,
            halted=_halted(inputs),
            awaiting=awaiting(inputs),
        )
        proposal = _propose(inputs, belief, box)
    except (InvalidInput, np.linalg.LinAlgError) as problem:
        return _hold(inputs, (*reasons, invalid_input(str(problem))), posterior, {})
    halting = any(inputs.previous.get(variant) for variant in _halted(inputs))
    if halting and not any(reason.code is HoldCode.NOT_RUNNING for reason in reasons):
        return _halt(inputs, posterior, proposal)
    if reasons:
        return _hold(inputs, reasons, posterior, proposal)
    return _move(inputs, box, posterior, proposal)


def parts_after_halt(inputs: Inputs) -> dict[str, int]:
    """The parts that follow at once when `inputs.halted` are halted: they get 0, the others share what that sets free.

    The others' parts are the nearest to what they had that keep floors, ceilings and pins; the step limit does not
    apply. With every variant halted, control serves everybody.
    """
    inputs = _sorted(inputs)
    previous = _previous(inputs)
    free = inputs.constraints.model_copy(update={"max_step": 1.0})
    box = make_box(inputs.variants, previous, free, halted=_halted(inputs))
    return dict(zip(inputs.variants, box.nearest([parts / PARTS for parts in previous]), strict=True))


def _move(inputs: Inputs, box: Box, posterior: dict[str, Posterior], proposal: dict[str, float]) -> Result:
    wanted = list(proposal.values())
    parts = box.nearest(wanted)
    found = verdicts(inputs.variants, box, wanted, parts)
    outlook = next_move(inputs.variants, box, wanted, parts, inputs.constraints)
    if _as_good_as_equal(box, parts, inputs.constraints.epsilon):
        stays = _unchanged(box, wanted, parts)
        reason = Reason(code=HoldCode.UNCHANGED, sentence=stays)
        return Result(
            Outcome.HOLD,
            dict(inputs.previous),
            posterior,
            proposal,
            basis(inputs),
            found,
            (reason,),
            stays,
            outlook,
        )
    return Result(
        Outcome.MOVE,
        dict(zip(inputs.variants, parts, strict=True)),
        posterior,
        proposal,
        basis(inputs),
        found,
        (),
        story(inputs.variants, box, wanted, parts),
        outlook,
    )


def _halt(inputs: Inputs, posterior: dict[str, Posterior], proposal: dict[str, float]) -> Result:
    parts = parts_after_halt(inputs)
    names = [variant for variant in _halted(inputs) if inputs.previous.get(variant)]
    box = make_box(
        inputs.variants,
        _previous(inputs),
        inputs.constraints.model_copy(update={"max_step": 1.0}),
        halted=_halted(inputs),
    )
    found = verdicts(inputs.variants, box, list(proposal.values()), list(parts.values()))
    sentence = f"{', '.join(names)} gets no traffic: it is halted, and what it had goes to the others at once."
    return Result(
        Outcome.HALT,
        parts,
        posterior,
        proposal,
        basis(inputs),
        found,
        (),
        sentence,
        "The others move again at the next decision; a halted variant waits for a person to resume it.",
    )


def _hold(
    inputs: Inputs, reasons: Sequence[Reason], posterior: dict[str, Posterior], proposal: dict[str, float]
) -> Result:
    return Result(
        Outcome.HOLD,
        dict(inputs.previous),
        posterior,
        proposal,
        basis(inputs) if proposal else "",
        (),
        tuple(reasons),
        reasons[0].sentence,
        blocked_until(reasons),
    )


def _sorted(inputs: Inputs) -> Inputs:
    """`inputs` with variants in the order of their ids, which is the order all ties are broken in."""
    if list(inputs.variants) == sorted(inputs.variants):
        return inputs
    order = sorted(range(len(inputs.variants)), key=inputs.variants.__getitem__)
    columns = {
        name: getattr(inputs, name)
        for name in ("variants", "theta", "precision", "trials", "successes", "faded_trials", "faded_successes")
    }
    moved = {name: tuple(values[k] for k in order) for name, values in columns.items() if values is not None}
    matrix = tuple(tuple(inputs.information[j][k] for k in order) for j in order)
    return inputs.model_copy(update={**moved, "information": matrix})


def _propose(inputs: Inputs, belief: Belief, box: Box) -> dict[str, float]:
    trials = inputs.trials if inputs.faded_trials is None else inputs.faded_trials
    successes = inputs.successes if inputs.faded_successes is None else inputs.faded_successes
    numbers = np.array([trials, successes, box.previous], float)
    known = Known(
        trials=numbers[0],
        successes=numbers[1],
        previous=numbers[2],
        p_best_among=belief.p_best_among,
        higher_is_better=belief.higher_is_better,
        kind=inputs.kind,
    )
    settled = {k: parts / box.unit for k, parts in box.pinned.items()}
    shares = propose(inputs.strategy, inputs.objective, known, settled)
    return dict(zip(inputs.variants, shares.round(9).tolist(), strict=True))


def _posterior(inputs: Inputs, belief: Belief) -> dict[str, Posterior]:
    columns = (belief.p_best.tolist(), belief.effects.tolist(), belief.effect_sds.tolist(), inputs.trials)
    return {
        variant: Posterior(
            p_best=p, effect_size=_significant(effect), effect_sd=_significant(sd), trials=n
        )
        for variant, p, effect, sd, n in zip(inputs.variants, *columns, strict=True)
    }


def _significant(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}")


def _previous(inputs: Inputs) -> list[int]:
    return [inputs.previous.get(variant, 0) for variant in inputs.variants]


def _halted(inputs: Inputs) -> list[str]:
    halted = [variant for variant in inputs.variants if variant in inputs.halted]
    return [v for v in halted if v != inputs.control] if len(halted) == len(inputs.variants) else halted


def _as_good_as_equal(box: Box, parts: Sequence[int], epsilon: float) -> bool:
    return max(abs(after - before) for after, before in zip(parts, box.previous, strict=True)) <= epsilon * box.unit


def _unchanged(box: Box, wanted: Sequence[float], parts: Sequence[int]) -> str:
    if all(abs(want * box.unit - got) <= 1 for want, got in zip(wanted, parts, strict=True)):
        return "Weights stay: they already are what the evidence asks for."
    return "Weights stay: the limits allow no move towards what the evidence asks for."
