"""The worlds one meets: functions from rates to a `World`; `make_world(name, …)` looks one up.

`rates` are one number per variant, what holds before anything drifts; `steps` × `batch` is the number of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature

import numpy as np

from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.simulation.outcomes import Revenue
from trimtab.simulation.worlds import World

Rates = Sequence[float]


def stationary(rates: Rates, *, steps: int = 40, batch: int = 1000) -> World:
    """Rates stay as they are."""
    return World("stationary", np.tile(rates, (steps, 1)), batch)


def drift(rates: Rates, *, steps: int = 40, batch: int = 1000, to: float = 3.0) -> World:
    """All rates change together, on a straight line, until at the end they are `to` times what they were."""
    return World("drift", np.outer(np.linspace(1, to, steps), rates), batch)


def seasonal(
    rates: Rates, *, steps: int = 40, batch: int = 1000, period: float = 10.0, amplitude: float = .5
) -> World:
    """All rates swing together by `amplitude` (a share of themselves) around their middle, once in `period` steps."""
    swing = 1 + amplitude * np.sin(2 * np.pi * np.arange(steps) / period)
    return World("seasonal", np.outer(swing, rates), batch)


def novelty(rates: Rates, *, steps: int = 40, batch: int = 1000, half_life: float = 5.0, lasting: float = 0.0) -> World:
    """Effects against the first variant wear off, half of them every `half_life` steps, down to the share `lasting`."""
    left = lasting + (1 - lasting) * np.exp2(-np.arange(steps) / half_life)
    control = float(rates[0])
    return World("novelty", control + np.outer(left, np.asarray(rates, float) - control), batch)


def late(rates: Rates, *, steps: int = 40, batch: int = 1000, at: int | None = None, to: float = 3.0) -> World:
    """The last variant is added at step `at` (default: half-way), while all rates drift to `to` times themselves."""
    if len(rates) < 2:
        raise InvalidInput("A variant can only come late to others: give two rates or more.", field="rates")
    entry = steps // 2 if at is None else at
    enters = (*(0 for _ in rates[1:]), entry)
    return replace(drift(rates, steps=steps, batch=batch, to=to), name="late", enters=enters)


def delayed(rates: Rates, *, steps: int = 40, batch: int = 1000, lag: int = 3, to: float = 1.0) -> World:
    """Outcomes are counted up to `lag` steps late, in equal shares for each lag, in the epoch that served them."""
    return replace(
        drift(rates, steps=steps, batch=batch, to=to), name="delayed", arrival=(1 / (lag + 1),) * (lag + 1)
    )


def revenue(
    rates: Rates,
    *,
    steps: int = 40,
    batch: int = 1000,
    value: float = 50.0,
    log_sd: float = 1.5,
    cap: float = 5000.0,
    to: float = 1.0,
) -> World:
    """Heavy tails: `rates` are chances of an order, orders are log-normal with mean `value`, clipped at `cap`."""
    ramp = drift(rates, steps=steps, batch=batch, to=to)
    return replace(ramp, name="revenue", outcome=Revenue(value, log_sd, cap))


WORLDS: dict[str, Callable[..., World]] = {
    maker.__name__: maker for maker in (delayed, drift, late, novelty, revenue, seasonal, stationary)
}


def make_world(name: str, rates: Rates, *, steps: int = 40, batch: int = 1000, **details: float) -> World:
    """The world called `name`.

    Raises:
        ConfigurationError: there is none of that name, or it has no such detail; the message lists what there is.
        InvalidInput: rates or details that it cannot have.
    """
    if name not in WORLDS:
        raise ConfigurationError(
            f"There is no world {name!r}; choose one of {', '.join(WORLDS)}.", field="world", value=name
        )
    known = details_of(name)
    if strangers := sorted(set(details) - set(known)):
        choice = ", ".join(known) or "none"
        raise ConfigurationError(
            f"The world {name!r} has no detail {strangers[0]!r}; it has: {choice}.", field=strangers[0]
        )
    whole = {key: int(value) if key in ("at", "lag") else value for key, value in details.items()}
    return WORLDS[name](rates, steps=steps, batch=batch, **whole)


def details_of(name: str) -> dict[str, float | None]:
    """What can be set about a world beside rates, steps and batch, with its default."""
    parameters = signature(WORLDS[name]).parameters
    return {key: each.default for key, each in parameters.items() if key not in ("rates", "steps", "batch")}
