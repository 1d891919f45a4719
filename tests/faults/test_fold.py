"""EO-17, IN-06: whatever the order in which outcomes arrive, the state is the same, and so is what is fitted to it."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from typing import Any

from faults.reporting import Check
from logs import HOUR, NOW, Log, batch, event
from trimtab.schema.control import EpochStart
from trimtab.schema.decision import Decision
from trimtab_worker.services.reallocate import Reallocate

ORDERS = 20
EPOCHS = 31


def test_twenty_orders_of_the_same_events_leave_one_state(check: Check) -> None:
    """EO-17: with ids and units, in rows and in columns, over two days: every sum, every count, every mark."""
    rng = random.Random(17)
    history = [
        event(
            variant=rng.choice(["control", "b"]),
            metrics={"converted": rng.randrange(2), "amount": rng.uniform(0, 150)},
            unit_id=f"unit-{number}",
            event_id=f"event-{number}",
            occurred_at=NOW - rng.randrange(47 * HOUR),
        )
        for number in range(400)
    ]

    def folded(order: list[dict[str, Any]]) -> str:
        """All but the size of the log, and which bucket a mark came to lie in: that tells how full the others were."""
        log = Log(unit="unit")
        for one in order[::2]:
            log.row(one)
        for place in range(0, len(order), 50):
            log.columns(batch(order[place + 1 : place + 50 : 2]))
        log.drain()
        assert sum(log.state().trials.values()) == len(history)
        state: dict[str, Any] = log.store.dump()
        marks = [(name.rsplit(":", 2)[0], mark) for name in state if name.startswith("seen:") for mark in state[name]]
        told = {"marks": sorted(marks), "scopes": state["scopes"], "statistics": state["stats:checkout"]}
        assert len(marks) == 2 * len(history), "its id's and its unit's"
        return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    digests = {folded(rng.sample(history, len(history))) for _ in range(ORDERS)}
    check("EO-17", f"{ORDERS} orders, 1 state", f"{ORDERS} orders, {len(digests)} state")
    other = {**history[0], "metrics": {"converted": 1 - history[0]["metrics"]["converted"], "amount": 1}}
    assert folded([other, *history[1:]]) not in digests, "the digest tells them apart"


def test_an_outcome_thirty_epochs_late_counts_as_if_it_had_been_on_time(check: Check) -> None:
    """In the cell of its own epoch; effects and information, fitted to all cells, are the same to the last bit."""
    in_order, _ = decided_after(outcome_epoch=1, told_in=1)
    late, cell = decided_after(outcome_epoch=1, told_in=EPOCHS)
    assert cell == 41, "in the cell of the epoch that it names"
    check("IN-06", f"θ, L: {fitted(in_order)}", f"θ, L: {fitted(late)}")
    elsewhere, _ = decided_after(outcome_epoch=EPOCHS, told_in=EPOCHS)
    assert fitted(elsewhere) != fitted(late), "in another epoch it would have said something else"


def decided_after(*, outcome_epoch: int, told_in: int) -> tuple[Decision, int]:
    """What is decided after an hour in each epoch, one outcome of `outcome_epoch` having come in epoch `told_in`; and
    how many outcomes of b the first epoch has then."""
    log, rng = Log(), random.Random(6)
    for epoch in range(1, EPOCHS + 1):
        if epoch > 1:
            parts = {"control": 500_000 - epoch, "b": 500_000 + epoch}
            start = EpochStart(at=log.clock.now, experiment_id="checkout", epoch=epoch, parts=parts)
            log.store.announce("checkout", epoch, start.model_dump_json().encode())
        for variant, rate in (("control", 0.1), ("b", 0.15)):
            won = (rng.random() < rate + 0.01 * epoch for _ in range(40))
            many = [event(variant=variant, epoch=epoch, metrics={"converted": int(each)}) for each in won]
            log.columns(batch(many, sent_at=log.clock.now))
        if epoch == told_in:
            log.row(event(epoch=outcome_epoch))
        log.drain()
        log.clock.now += HOUR
    decision = Reallocate(log.publications, lambda _: log.store).recompute("checkout", dry_run=True)
    return decision, log.cell("b").n


def fitted(decision: Decision) -> str:
    """A digest of what the estimator found; floats are written with all their bits."""
    inputs = decision.inputs
    found = (inputs.theta, inputs.information, inputs.precision, inputs.prior_sd, decision.posterior)
    return sha256(repr(found).encode()).hexdigest()[:16]
