"""Why weights may have to stay: what the engine itself finds, beside the facts it is handed."""

from __future__ import annotations

import math
from collections.abc import Iterable

from trimtab.engine.guardrails import Wait, entry_share
from trimtab.engine.wording import count, listed, span
from trimtab.schema.base import PARTS
from trimtab.schema.decision import HoldCode, Inputs, Reason

_ORDER = {code: place for place, code in enumerate(HoldCode)}


def find_holds(inputs: Inputs) -> tuple[Reason, ...]:
    """Every reason to hold, in the order in which the rules are asked; the first one speaks for the decision."""
    found = (*inputs.facts, *invalid(inputs), *_cooldown(inputs), *_min_trials(inputs))
    return tuple(sorted(found, key=lambda reason: _ORDER[reason.code])) if len(found) > 1 else found


def invalid(inputs: Inputs) -> list[Reason]:
    """One reason that names the first thing no decision can be made from; none if all is well."""
    problem = _problem(inputs)
    return [invalid_input(problem)] if problem else []


def invalid_input(problem: str) -> Reason:
    return Reason(code=HoldCode.INVALID_INPUT, sentence=f"Weights stay, for the input is invalid: {problem}")


def awaiting(inputs: Inputs) -> dict[str, Wait]:
    """Variants that lack the least number of trials and are not waited for, and where they wait while others move.

    For those added later that is the share they were given, reached by steps; else where they are, and for whoever has
    nothing yet, the usual one.
    """
    least = inputs.constraints.min_trials
    missing = {v: least - n for v, n in zip(inputs.variants, inputs.trials, strict=True) if n < least}
    waiting = [v for v in missing if v in inputs.entered_later or v in _unseen(inputs)] if missing else []
    return {v: Wait(_waits_at(v, inputs), missing[v]) for v in waiting}


def _waits_at(variant: str, inputs: Inputs) -> int:
    given, current = inputs.entry_weights.get(variant), inputs.previous.get(variant, 0)
    if given is None:
        return current or int(PARTS * entry_share(variant, len(inputs.variants), inputs.constraints))
    step = int(PARTS * inputs.constraints.max_step)
    return min(max(round(PARTS * given), current - step), current + step)


def _problem(inputs: Inputs) -> str | None:
    size = len(inputs.variants)
    for name in ("theta", "precision", "trials", "successes", "faded_trials", "faded_successes"):
        values = getattr(inputs, name)
        if values is None:
            continue
        if len(values) != size:
            return f"{name} has {len(values)} values for {size} variants."
        least = 0 if name in ("precision", "trials", "faded_trials") else -math.inf
        if not (all(map(math.isfinite, values)) and min(values, default=0) >= least):
            wrong = next(k for k, value in enumerate(values) if not (math.isfinite(value) and value >= least))
            return f"{name} of variant {inputs.variants[wrong]!r} is {values[wrong]!r}."
    if len(set(inputs.variants)) != size or size == 0:
        return "variants are missing or named twice."
    matrix = inputs.information
    if len(matrix) != size or any(len(row) != size for row in matrix):
        return f"information is not a {size} × {size} matrix."
    if not all(all(map(math.isfinite, row)) for row in matrix):
        return "information holds a value that is not finite."
    if not (math.isfinite(inputs.prior_sd) and inputs.prior_sd >= 0):
        return f"prior_sd is {inputs.prior_sd!r}."
    return _previous_problem(inputs)


def _previous_problem(inputs: Inputs) -> str | None:
    known = set(inputs.variants)
    if strangers := sorted(v for v in inputs.previous if v not in known):
        return f"previous weights name {listed(strangers)}, which the experiment does not have."
    if (total := sum(inputs.previous.values())) != PARTS:
        return f"previous weights add up to {total:,} parts, not to {PARTS:,}."
    return None


def _cooldown(inputs: Inputs) -> list[Reason]:
    period = inputs.constraints.cooldown_seconds
    if inputs.changed_at is None:  # the first change waits for nothing
        return []
    passed = max(0, inputs.now - inputs.changed_at) / 1000
    if passed >= period:
        return []
    return [
        Reason(
            code=HoldCode.COOLDOWN,
            sentence=f"Weights changed {span(passed)} ago and rest for {span(period)} after a change.",
            numbers={"passed_seconds": passed, "cooldown_seconds": period, "remaining_seconds": period - passed},
        )
    ]


def _min_trials(inputs: Inputs) -> list[Reason]:
    least = inputs.constraints.min_trials
    short = {variant: n for variant, n in zip(inputs.variants, inputs.trials, strict=False) if n < least}
    lacking = {variant: n for variant, n in short.items() if variant not in _exempt(inputs)} if short else {}
    if not lacking:
        return []
    behind = min(lacking, key=lambda variant: (lacking[variant], variant))
    numbers = {"min_trials": float(least), **{f"trials.{variant}": float(n) for variant, n in lacking.items()}}
    sentence = f"{behind} has {count(lacking[behind])} of the {count(least)} trials that every variant needs first"
    others = len(lacking) - 1
    if others:
        sentence += f", and {others} other{'s are' if others > 1 else ' is'} short of them too"
    return [Reason(code=HoldCode.MIN_TRIALS, sentence=f"{sentence}.", numbers=numbers)]


def _exempt(inputs: Inputs) -> set[str]:
    """Who is not waited for: added later, or without a share, for that could be for ever."""
    return {*inputs.entered_later, *inputs.halted, *_closed(inputs), *_unseen(inputs)}


def _closed(inputs: Inputs) -> Iterable[str]:
    """Variants limited to no share at all."""
    return (v for v in inputs.variants if inputs.constraints.ceiling(v) == 0)


def _unseen(inputs: Inputs) -> set[str]:
    """Variants that nobody is served though they may be: begun at 0, or halted and resumed. They need a share first."""
    return {v for v in inputs.variants if not inputs.previous.get(v)} - {*inputs.halted, *_closed(inputs)}
