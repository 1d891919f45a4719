"""OB-01: every hold, every guardrail's verdict, every halt and every dead letter can happen, and a metric tells it.

The closed sets are gone through one by one: a code that is added without a situation that leads to it fails here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from faults.reporting import Check
from logs import HOUR, NOW, Log, batch, definition, event, forged
from trimtab.fold.state import MOST_RANGES
from trimtab.schema.control import EpochStart, StatusChange
from trimtab.schema.dead_letter import DeadLetterCode
from trimtab.schema.decision import Decision, HoldCode, Outcome, VerdictCode
from trimtab.schema.experiment import Status
from trimtab.schema.signing import Keyring
from trimtab_worker.services.metrics import M
from trimtab_worker.services.reallocate import Reallocate
from trimtab_worker.services.signing import require
from unit.services.test_metrics import told, value

Situation = tuple[dict[str, Any], Callable[[Log], object]]
"""Changes to the definition, and what then happens."""

EAGER = {"min_trials": 1, "max_step": 0.2, "min_weight": 0.005, "cooldown_seconds": 0}
AT_ONCE = EAGER | {"max_step": 1.0}
THREE = [{"id": "control"}, {"id": "b"}, {"id": "c"}]


def decided(situation: Situation) -> tuple[Log, Decision]:
    changes, happens = situation
    log = Log(**changes)
    happens(log)
    return log, Reallocate(log.publications, lambda _: log.store).recompute("checkout")


# ── holds ────────────────────────────────────────────────────────────────────────────────────────────────────────────

def _outcomes(log: Log, n: int = 100, **changes: Any) -> None:
    rates = {"control": 2, "b": 3}
    rows = [event(variant=v, metrics={"converted": int(i % 10 < r)}) for v, r in rates.items() for i in range(n)]
    log.columns(batch([{**row, **changes} for row in rows]))


def _stopped_in_the_log(log: Log) -> None:
    order = StatusChange(at=log.clock.now, experiment_id="checkout", status=Status.STOPPED)
    log.store.append("control", order.model_dump_json().encode())
    log.drain()


def _paused(log: Log) -> None:
    log.control.hold("checkout", reason="a look")
    log.drain()


def _gap(log: Log) -> None:
    log.drain()
    log.row(event())
    log.store.trim(f"{log.clock.now + 1}-0")


def _units(log: Log, n: int, **changes: Any) -> None:
    rows = [event(unit_id=f"u{i}", variant="b" if i % 10 else "control") for i in range(n)]
    log.columns(batch([{**row, **changes} for row in rows]))
    log.drain()


def _leaking(log: Log) -> None:
    parts = {"control": 1_000_000, "b": 0}
    start = EpochStart(at=log.clock.now, experiment_id="checkout", epoch=2, parts=parts)
    log.store.announce("checkout", 2, start.model_dump_json().encode())
    _units(log, 200, epoch=2)


def _dead(log: Log) -> None:
    log.columns(batch([event(variant="stranger")] * 100))
    log.drain()


def _cooling(log: Log) -> None:
    _outcomes(log, 1000)
    log.drain()
    Reallocate(log.publications, lambda _: log.store).recompute("checkout")


def _unchanged(log: Log) -> None:
    _outcomes(log)
    log.drain()


def _restored(log: Log) -> None:
    log.drain()
    log.publications.life = "another"  # type: ignore[attr-defined]


HOLDS: dict[HoldCode, Situation] = {
    HoldCode.NOT_RUNNING: ({}, _stopped_in_the_log),
    HoldCode.PAUSED: ({}, _paused),
    HoldCode.STALE: ({}, lambda _: None),  # nobody ever drained
    HoldCode.LOG_GAP: ({}, _gap),
    HoldCode.RESTORED: ({}, _restored),
    HoldCode.INVALID_INPUT: (
        {"strategy": "heuristic", "metrics": [{"name": "converted", "kind": "continuous", "primary": True}]},
        _unchanged,
    ),
    HoldCode.SAMPLE_RATIO: ({"unit": "unit"}, lambda log: _units(log, 2000)),
    HoldCode.LEAK: ({"unit": "unit"}, _leaking),
    HoldCode.DEAD_LETTERS: ({}, _dead),
    HoldCode.COOLDOWN: ({"constraints": {**EAGER, "cooldown_seconds": 600}}, _cooling),
    HoldCode.MIN_TRIALS: ({}, lambda log: log.drain()),
    HoldCode.UNCHANGED: ({"strategy": "fixed", "constraints": EAGER}, _unchanged),
}


def test_every_hold_is_told_by_its_code(check: Check) -> None:
    """Those of the split among them: sample ratio and leak."""
    reached = 0
    for code, situation in HOLDS.items():
        log, decision = decided(situation)
        found, values = {reason.code for reason in decision.reasons}, told(log)
        assert code in found
        for each in HoldCode:
            assert value(values, M.HOLD, experiment="checkout", code=each) == float(each in found)
        reached += 1
    check("OB-01", f"{len(HoldCode)} of {len(HoldCode)} hold codes", f"{reached} of {len(HoldCode)} hold codes")


# ── guardrails ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _evidence(log: Log) -> None:
    """b and c are both better than control; c a little less."""
    rates = {"control": 10, "b": 15, "c": 14}
    serving = log.control.show("checkout").parts
    rows = [event(variant=v, metrics={"converted": int(i % 100 < rates[v])}) for v in serving for i in range(1000)]
    log.columns(batch(rows))
    log.drain()


def _with_a_late_variant(log: Log) -> None:
    _evidence(log)
    log.control.add_variant("checkout", "c")
    log.drain()


def _halted(log: Log) -> None:
    _evidence(log)
    log.control.halt("checkout", "b", reason="a look")


VERDICTS: dict[VerdictCode, Situation] = {
    VerdictCode.MAX_STEP: ({"constraints": EAGER}, _evidence),
    VerdictCode.FLOOR: ({"constraints": AT_ONCE}, _evidence),
    VerdictCode.CEILING: ({"constraints": AT_ONCE | {"ceilings": {"b": 0.6}}}, _evidence),
    VerdictCode.PIN: ({"constraints": AT_ONCE | {"pins": {"control": 0.2}}}, _evidence),
    VerdictCode.AWAITING_EVIDENCE: ({"constraints": AT_ONCE | {"min_trials": 300}}, _with_a_late_variant),
    VerdictCode.HALTED: ({"constraints": AT_ONCE, "variants": THREE}, _halted),
    VerdictCode.STEP_WIDENED: ({"constraints": EAGER | {"max_step": 0.01, "min_weight": 0.05}}, _with_a_late_variant),
    VerdictCode.RELAXED: ({"constraints": AT_ONCE | {"ceilings": {"control": 0.6}}}, _halted),
    VerdictCode.ROOM: ({"constraints": AT_ONCE | {"min_weight": 0.1}, "variants": THREE}, _evidence),
}


def test_every_guardrail_that_binds_is_told_by_its_code(check: Check) -> None:
    reached = 0
    for code, situation in VERDICTS.items():
        log, decision = decided(situation)
        found, values = {verdict.code for verdict in decision.verdicts}, told(log)
        assert code in found, (code, found)
        for each in VerdictCode:
            assert value(values, M.BOUND, experiment="checkout", code=each) == float(each in found)
        reached += 1
    n = len(VerdictCode)
    check("OB-01", f"{n} of {n} verdicts of guardrails", f"{reached} of {n} verdicts of guardrails")


# ── halts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _harmful(log: Log) -> None:
    """b costs far more than its harm limit allows."""
    rows = [
        event(unit_id=f"{v}{i}", variant=v, metrics={"converted": i % 2, "refunded": int(i % 10 < harm)})
        for v, harm in (("control", 1), ("b", 6))
        for i in range(3000)
    ]
    log.columns(batch(rows))
    log.drain()


METRICS = [
    {"name": "converted", "kind": "binary", "primary": True},
    {"name": "refunded", "kind": "binary", "direction": "decrease", "harm_limit": 0.05},
]
HALTS: dict[str, Situation] = {
    "a person's": ({"constraints": EAGER}, _halted),
    "for harm to a guardrail metric": ({"unit": "unit", "metrics": METRICS, "constraints": EAGER}, _harmful),
}


def test_every_halt_is_told_with_its_variant_and_its_code(check: Check) -> None:
    reached = []
    for why, situation in HALTS.items():
        log, decision = decided(situation)
        values = told(log)
        assert decision.parts["b"] == 0
        assert decision.outcome is (Outcome.HALT if "harm" in why else decision.outcome)
        assert value(values, M.HALTED, experiment="checkout", variant="b") == 1
        assert value(values, M.BOUND, experiment="checkout", code=VerdictCode.HALTED) == 1
        assert value(values, M.WEIGHT, experiment="checkout", variant="b") == 0
        reached.append(why)
    check("OB-01", f"2 of 2 halts: {', '.join(HALTS)}", f"{len(reached)} of 2 halts: {', '.join(reached)}")


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _refused() -> Iterator[tuple[DeadLetterCode, Callable[[Log], object]]]:
    rows: dict[DeadLetterCode, Any] = {
        DeadLetterCode.NOT_JSON: b"{nope",
        DeadLetterCode.TOO_LARGE: b"x" * 10_000,
        DeadLetterCode.SCHEMA_VERSION: event(v=99),
        DeadLetterCode.MISSING_FIELD: {"experiment_id": "checkout"},
        DeadLetterCode.INVALID_FIELD: event(experiment_id="a}:x{"),
        DeadLetterCode.UNKNOWN_EXPERIMENT: event(experiment_id="nowhere"),
        DeadLetterCode.UNKNOWN_VARIANT: event(variant="stranger"),
        DeadLetterCode.UNKNOWN_METRIC: event(metrics={"strange": 1}),
        DeadLetterCode.UNKNOWN_EPOCH: event(epoch=9),
        DeadLetterCode.INVALID_VALUE: event(metrics={"converted": 7}),
        DeadLetterCode.TOO_LATE: event(occurred_at=NOW - 72 * HOUR),
        DeadLetterCode.FUTURE: event(occurred_at=NOW + HOUR),
    }
    for code, row in rows.items():
        yield code, lambda log, row=row: log.row(row)
    yield DeadLetterCode.UNKNOWN_ENTRY, lambda log: log.store.append("surprise", b"1")
    yield DeadLetterCode.INVALID_CONTROL, lambda log: log.store.append("control", b"1")
    yield DeadLetterCode.SEQUENCE_GAP, _skipping
    yield DeadLetterCode.STOPPED, lambda log: (_stopped_in_the_log(log), log.row(event()))
    yield DeadLetterCode.MISSING_UNIT, _without_unit
    yield DeadLetterCode.NOT_STARTED, _draft
    yield DeadLetterCode.CRASHED, _crashing
    yield DeadLetterCode.AUTH, _unsigned


def _skipping(log: Log) -> None:
    for number in range(MOST_RANGES + 1):
        log.columns(batch([event()], producer="p", sequence=2 + 2 * number))


def _without_unit(log: Log) -> None:
    log.control.create(definition(id="units", unit="unit"))
    log.control.start("units")
    log.row(event(experiment_id="units"))


def _draft(log: Log) -> None:
    log.control.create(definition(id="draft"))
    log.row(event(experiment_id="draft"))


def _unsigned(log: Log) -> None:
    log.store.keyring = Keyring((b"x" * 32,))
    require([log.store], log.store.keyring, required=True)
    forged(log, event())


def _crashing(log: Log) -> None:
    log.drain()
    log.row(event())
    (entry,) = log.store.read(log.store.load().cursor.id, 1)
    assert log.store.quarantine(entry.id, log.store.load().cursor)


REFUSED = dict(_refused())


def test_every_dead_letter_is_told_by_its_code(check: Check) -> None:
    """Under its experiment where it names one that exists, else as a stray."""
    reached = 0
    for code, happens in REFUSED.items():
        log = Log()
        happens(log)
        log.drain()
        by_code = [name for (name, labels), n in told(log).items() if ("code", code) in labels and n > 0]
        assert by_code in ([M.DEAD.value.name], [M.STRAY.value.name])
        reached += 1
    n = len(DeadLetterCode)
    check("OB-01", f"{n} of {n} dead-letter codes", f"{reached} of {n} dead-letter codes")
