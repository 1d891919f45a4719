"""How a client polls, understands answers, and tells a silent server from a lost one."""

from __future__ import annotations

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import allocation
from trimtab.client._assignments import Reason, expiring, missing, table_of
from trimtab.client._holdings import Reading
from trimtab.client._reading import (
    LONGEST_DELAY_SECONDS,
    QUIET_SECONDS,
    PollSettings,
    Pulse,
    all_answered,
    any_answered,
    longer,
    unanswered,
    understood,
)
from trimtab.client._reports import KEPT_PERIODS, SOONEST_SECONDS, Reports

REFUSED = redis.ResponseError("NOPERM")


@given(st.floats(0.05, 3600), st.floats(0, 1))
def test_waits_spread_by_the_jitter_around_the_period(poll_seconds: float, jitter: float) -> None:
    wait = PollSettings(poll_seconds, jitter, 60, "serve", 30).next_wait()
    assert poll_seconds * (1 - jitter) - 1e-9 <= wait <= poll_seconds * (1 + jitter) + 1e-9


def test_refusals_are_understood_one_by_one() -> None:
    reading = understood(["a", "b"], [REFUSED, b"x", b""])
    assert reading == Reading({"a": b"x", "b": None}, None)
    assert understood(["a"], [(1, 2345), REFUSED]) == Reading({"a": REFUSED}, 1002)


def test_a_server_has_answered_for_all_for_some_or_for_none() -> None:
    some = Reading({"a": None, "b": REFUSED}, None)
    none = unanswered(["a", "b"], REFUSED)
    assert [all_answered(some), any_answered(some), any_answered(none)] == [False, True, False]


def test_a_silence_is_first_short_then_asked_about_once_then_a_loss() -> None:
    pulse = Pulse(0.0)
    steps = [(at, pulse.silence(at * QUIET_SECONDS)) for at in (0.5, 1.1, 1.5, 2.0, 2.1)]
    assert [what for _, what in steps] == ["short", "ask", "short", "short", "lost"]
    pulse.beat(3 * QUIET_SECONDS)
    assert pulse.silence(3.5 * QUIET_SECONDS) == "short"


def test_delays_between_attempts_that_fail_at_once_grow_to_their_longest() -> None:
    delay, delays = 0.0, []
    for _ in range(20):
        delay = longer(delay, lasted=1.0)
        delays.append(delay)
    assert delays[0] < 1
    assert longer(delay, lasted=3600.0) < 1, "a subscription that held is soon tried again"
    assert 0.75 * LONGEST_DELAY_SECONDS <= delays[-1] <= LONGEST_DELAY_SECONDS


def test_notes_are_due_once_a_period_and_soon_after_a_change() -> None:
    reports, held = Reports(30, "web-1"), {"checkout": table_of(allocation(1)), "search": missing(Reason.DEFAULT)}
    first = reports.due(held, 0.0)
    assert list(first) == ["checkout"]
    reports.last |= first
    changed = {"checkout": table_of(allocation(2))}
    assert reports.due(changed, SOONEST_SECONDS / 2) == {}
    reports.last |= reports.due(changed, SOONEST_SECONDS)
    assert reports.due(changed, 29.9) == {}
    assert reports.due(changed, 30.0) == reports.last
    late = {"checkout": expiring(changed["checkout"], 40.0)}
    assert reports.due(late, 39.9) == {}
    assert '"stale":true' in reports.due(late, 40.0)["checkout"]
    assert reports.keep_ms == 30_000 * KEPT_PERIODS


def test_with_a_period_of_zero_nothing_is_ever_said() -> None:
    assert Reports(0, "web-1").due({"checkout": table_of(allocation(1))}, 0.0) == {}


@pytest.mark.parametrize("value", [-1.0, 3601.0, float("nan")])
def test_a_period_out_of_its_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="report_seconds"):
        PollSettings(5, 0.1, 60, "serve", value)
