"""What bound each variant, in codes, numbers and one plain sentence each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trimtab.engine.guardrails import Box
from trimtab.engine.wording import more_trials, percent, points, told_apart
from trimtab.schema.decision import Verdict, VerdictCode

_WHY: dict[VerdictCode, Callable[[int, Box], str]] = {
    VerdictCode.MAX_STEP: lambda _, box: f"one move may change a share by at most {points(box.step / box.unit)}",
    VerdictCode.FLOOR: lambda k, box: f"its floor is {percent(box.floor[k] / box.unit)}",
    VerdictCode.CEILING: lambda k, box: f"its ceiling is {percent(box.ceiling[k] / box.unit)}",
    VerdictCode.PIN: lambda *_: "it is pinned",
    VerdictCode.AWAITING_EVIDENCE: lambda k, box: (
        f"it lacks evidence and waits there for {more_trials(box.awaiting[k])}"
    ),
    VerdictCode.HALTED: lambda *_: "it is halted until a person resumes it",
    VerdictCode.ROOM: lambda *_: "the limits of the others leave it that much",
}


_SETTLED = frozenset({VerdictCode.HALTED, VerdictCode.AWAITING_EVIDENCE, VerdictCode.PIN})
"""Shares that evidence has no say in: there is nothing that such a variant could want."""


def verdicts(variants: Sequence[str], box: Box, proposal: Sequence[float], parts: Sequence[int]) -> tuple[Verdict, ...]:
    """A verdict for each variant whose share is settled or not what was proposed, after those on all of them."""
    single = [
        _verdict(variant, code, k, box, proposal, parts)
        for k, variant in enumerate(variants)
        if (code := bound_by(k, box, proposal[k], parts[k])) is not None
    ]
    return (*_of_all(box), *single)


def bound_by(k: int, box: Box, wanted: float, got: int) -> VerdictCode | None:
    """Which limit gave the variant at place `k` its share; None if it got what it wanted, to the part."""
    if k in box.halted:
        return VerdictCode.HALTED
    if k in box.awaiting:
        return VerdictCode.AWAITING_EVIDENCE
    if k in box.pinned:
        return VerdictCode.PIN
    asked = wanted * box.unit
    if abs(got - asked) <= 1:
        return None
    if asked < got == box.low(k):
        return VerdictCode.FLOOR if box.floor[k] >= box.previous[k] - box.step else VerdictCode.MAX_STEP
    if asked > got == box.high(k):
        return VerdictCode.CEILING if box.ceiling[k] <= box.previous[k] + box.step else VerdictCode.MAX_STEP
    return VerdictCode.ROOM


def change_text(variant: str, before: float, after: float) -> str:
    """`b's share rises from 50.0 % to 60.0 %`."""
    if before == after:
        return f"{variant}'s share stays at {percent(after)}"
    was, now = told_apart(before, after)
    return f"{variant}'s share {'rises' if after > before else 'falls'} from {was} to {now}"


def why_text(code: VerdictCode | None, k: int, box: Box, wanted: float) -> str:
    """What the variant wants and what kept it from there: `it wants 97.3 %, and one move may …`."""
    if code is None:
        return "that is what the evidence asks for"
    if code in _SETTLED:
        return _WHY[code](k, box)
    return f"it wants {percent(wanted)}, and {_WHY[code](k, box)}"


def _verdict(
    variant: str, code: VerdictCode, k: int, box: Box, proposal: Sequence[float], parts: Sequence[int]
) -> Verdict:
    before, after = box.previous[k] / box.unit, parts[k] / box.unit
    return Verdict.model_construct(  # `Engine` takes any id
        code=code,
        variant=variant,
        sentence=f"{change_text(variant, before, after)}: {why_text(code, k, box, proposal[k])}.",
        numbers={
            "previous": before,
            "proposed": float(proposal[k]),
            "weight": after,
            "low": box.low(k) / box.unit,
            "high": box.high(k) / box.unit,
        },
    )


def _of_all(box: Box) -> list[Verdict]:
    found = []
    if box.wider:
        configured, used = (box.step - box.wider) / box.unit, box.step / box.unit
        found.append(
            Verdict(
                code=VerdictCode.STEP_WIDENED,
                variant=None,
                sentence=f"The step was widened from {points(configured)} to {points(used)}, the least with which all "
                "other limits can be met.",
                numbers={"max_step": configured, "step": used},
            )
        )
    if box.relaxed:
        found.append(
            Verdict(
                code=VerdictCode.RELAXED,
                variant=None,
                sentence=f"No weights meet all limits together, so {box.relaxed} gave way.",
            )
        )
    return found
