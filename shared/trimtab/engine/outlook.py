"""The decision in words: what it rests on, what it does, what would have to change for weights to move (further)."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.engine.guardrails import Box
from trimtab.engine.verdicts import bound_by, change_text, why_text
from trimtab.engine.wording import count, listed, more_trials, percent, points, span
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import HoldCode, Inputs, Reason, VerdictCode
from trimtab.schema.experiment import Objective

_MOST = 3  # of the variants that wait for evidence, how many are named
_SHARED = {
    "fixed": "shares stay in the ratio they have",
    "heuristic": "shares are in the ratio of smoothed rates",
    "thompson": "a share is the chance of being the best",
    "top_two": "half goes to who is likely the best, half to its likely best rivals",
}

_UNTIL = {
    HoldCode.NOT_RUNNING: "the experiment runs",
    HoldCode.PAUSED: "a person resumes it",
    HoldCode.STALE: "the log has been read up to its end",
    HoldCode.LOG_GAP: "an operator has looked at the gap in the log",
    HoldCode.RESTORED: "these weights are published under their new incarnation, which is now",
    HoldCode.INVALID_INPUT: "the input named is corrected",
    # Nobody can order these away: what is counted stays counted. Other statistics are those of another experiment.
    HoldCode.SAMPLE_RATIO: "units that arrive as served outweigh those that did not (a new experiment may be sooner)",
    HoldCode.LEAK: "such units are a ten-thousandth of all, or fewer (a new experiment may be sooner)",
    HoldCode.DEAD_LETTERS: "fewer events are refused",
    HoldCode.COOLDOWN: "the cooldown is over",
    HoldCode.MIN_TRIALS: "every variant has enough trials",
    HoldCode.UNCHANGED: "new outcomes change what the evidence asks for",
}


def basis(inputs: Inputs) -> str:
    """What the proposal rests on: strategy, objective, and how much of the evidence still counts."""
    name, objective = inputs.strategy, inputs.objective
    own = _SHARED.get(name, f"shares are what strategy {name} makes of the evidence")
    text = f"Strategy {name}, objective {objective}: "
    match objective:
        case Objective.EARN:
            text += own
        case Objective.FIND_BEST:
            text += _SHARED["top_two"]
        case Objective.MIXED:
            text += f"one half as {name} has it ({own}), the other as top_two ({_SHARED['top_two']})"
    if inputs.half_life_seconds is not None and inputs.faded_trials is not None:
        text += (
            f". Outcomes count half after each {span(inputs.half_life_seconds)}: {count(sum(inputs.trials))} trials "
            f"amount to {count(sum(inputs.faded_trials))}"
        )
    return f"{text}."


def story(variants: Sequence[str], box: Box, wanted: Sequence[float], parts: Sequence[int]) -> str:
    """The largest change, what it wanted and what bound it; then how far the others move."""
    changes = [after - before for after, before in zip(parts, box.previous, strict=True)]
    lead = min(range(len(changes)), key=lambda k: (-abs(changes[k]), -changes[k], k))
    text = change_text(variants[lead], box.previous[lead] / box.unit, parts[lead] / box.unit)
    text += f": {why_text(bound_by(lead, box, wanted[lead], parts[lead]), lead, box, wanted[lead])}"
    others = [abs(change) for k, change in enumerate(changes) if k != lead and change]
    if len(others) > 1:
        text += f"; {len(others)} others move by at most {points(max(others) / box.unit)}"
    return f"{text}."


def next_move(
    variants: Sequence[str], box: Box, wanted: Sequence[float], parts: Sequence[int], constraints: Constraints
) -> str:
    """What keeps whoever is furthest from its wish from getting there, and what those with a settled share wait for."""
    far = [want * box.unit - got for want, got in zip(wanted, parts, strict=True)]
    lead = min(range(len(far)), key=lambda k: (-abs(far[k]), -far[k], k))
    return " ".join([_furthest(lead, variants, box, wanted, parts, constraints), *_settled(variants, box)])


def _furthest(
    lead: int,
    variants: Sequence[str],
    box: Box,
    wanted: Sequence[float],
    parts: Sequence[int],
    constraints: Constraints,
) -> str:
    code = bound_by(lead, box, wanted[lead], parts[lead])
    if code not in _LOOSER:
        return "Weights are what the evidence asks for; new outcomes would have to change it."
    want = f"{variants[lead]} still wants {percent(wanted[lead])}"
    if parts[lead] != box.previous[lead] and _gets_closer(lead, box, wanted[lead], parts[lead]):
        return f"{want}: the next move may go on, {span(constraints.cooldown_seconds)} after this one."
    return f"{want}: {_LOOSER[code]}, or new outcomes change what it wants."


_LOOSER = {
    VerdictCode.FLOOR: "its floor would have to be lower",
    VerdictCode.CEILING: "its ceiling would have to be higher",
    VerdictCode.MAX_STEP: "max_step would have to be larger",
    VerdictCode.ROOM: "the limits of the others would have to leave it that",
}


def _settled(variants: Sequence[str], box: Box) -> list[str]:
    """What would have to happen before those may move whose share is not the evidence's to decide."""
    said = [
        f"{variants[k]} moves too once it has {more_trials(missing)}."
        for k, missing in sorted(box.awaiting.items(), key=lambda item: (item[1], item[0]))
    ]
    if len(said) > _MOST:
        said = [*said[:_MOST], f"{len(said) - _MOST} others wait for more."]
    if box.halted:
        names = listed([variants[k] for k in sorted(box.halted)])
        said.append(f"{names} {'waits' if len(box.halted) == 1 else 'wait'} for a person to resume.")
    if pins := sorted(box.pinned.keys() - box.halted - box.awaiting.keys()):
        said.append(f"{listed([variants[k] for k in pins])} {'stays' if len(pins) == 1 else 'stay'} while pinned.")
    return said


def blocked_until(reasons: Sequence[Reason]) -> str:
    """All that has to happen before weights may move, in the order of the rules."""
    conditions: dict[str, None] = {}
    for reason in reasons:
        conditions[_condition(reason)] = None
    return f"Weights move again once {', and '.join(conditions)}."


def _condition(reason: Reason) -> str:
    numbers = reason.numbers
    if reason.code is HoldCode.COOLDOWN and "remaining_seconds" in numbers:
        return f"{span(numbers['remaining_seconds'])} more have passed"
    if reason.code is HoldCode.MIN_TRIALS and "min_trials" in numbers:
        least = numbers["min_trials"]
        missing = {name.removeprefix("trials."): least - n for name, n in numbers.items() if name.startswith("trials.")}
        behind = max(missing, key=lambda variant: (missing[variant], variant))
        others = " and the others theirs" if len(missing) > 1 else ""
        return f"{behind} has {more_trials(missing[behind])}{others}"
    return _UNTIL[reason.code]


def _gets_closer(k: int, box: Box, wanted: float, got: int) -> bool:
    if k in box.pinned:
        return False
    return got < box.ceiling[k] if wanted * box.unit > got else got > box.floor[k]
