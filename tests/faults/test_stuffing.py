"""SE-05, SE-06: few units that send much move little, and somebody learns of them."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.reporting import Check
from logs import HOUR, Log, batch, event
from trimtab_worker.services.metrics import M, Sources, measure
from trimtab_worker.services.reallocate import Reallocate

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
CAP = 10
FLOOD = 10_000


def alert(log: Log) -> tuple[bool, float]:
    """Whether the rule about stuffing would fire, all that is counted having come lately; and the share it asks for.

    The rule's own words are evaluated: what is left of them after the metrics is arithmetic that Python shares.
    """
    rules = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]
    words = next(rule["expr"] for rule in rules if rule["alert"] == "TrimtabStuffing")
    sources = Sources(log.publications, lambda _: log.store, server=dict, ages=dict)
    told = {sample.name: sample.value for metric in measure(sources).collect() for sample in metric.samples}
    filled = re.sub(r"increase\((\w+)\[\w+\]\)", lambda found: str(told[found[1]]), words)
    beyond = told[M.REPEATED.value.name] + told[M.BEYOND_CAP.value.name]
    return bool(eval(filled, {"__builtins__": {}})), beyond / (beyond + told[M.OUTCOMES.value.name])


@pytest.mark.parametrize(
    ("kind", "most"), [({"unit": "unit"}, 1), ({"max_outcomes_per_unit_hour": CAP}, CAP)], ids=["unit", "event"]
)
def test_one_unit_adds_no_more_than_its_cap(kind: dict[str, Any], most: int, check: Check) -> None:
    """10,000 conversions under event ids of their own, in rows and in batches, among 1,000 honest outcomes."""
    log = Log(**kind)
    log.columns(batch([event(unit_id=f"u{n}", event_id=f"u{n}", metrics={"converted": 0}) for n in range(1000)]))
    log.drain()
    assert alert(log) == (False, 0.0)
    stuffed = [event(unit_id="bot", event_id=f"e{n}") for n in range(FLOOD)]
    for start in range(0, FLOOD // 2, 1000):
        log.columns(batch(stuffed[start : start + 1000]))
    for one in stuffed[FLOOD // 2 :]:
        log.row(one)
    log.drain()
    fires, share = alert(log)
    check("SE-05", f"of {FLOOD:,} from one unit {most} counted, alert", f"of {FLOOD:,} from one unit "
          f"{log.cell('b').total} counted{', alert' if fires else ''} ({share:.0%} beyond)",
          (log.cell("b").total, fires, log.dead_codes()) == (most, True, []))  # fmt: skip


RATES = {"control": 0.10, "b": 0.08}
HONEST, BOTS, BOT_CAP, ROUNDS = 4000, 3, 3, 8
LIMIT = 20_000


def test_a_flood_from_three_bots_moves_weights_little(check: Check) -> None:
    """A fifth of all traffic praises the worse variant. Without a cap that wins it the traffic."""
    alone, log = parts_of_b(bots=False, cap=BOT_CAP)
    assert (alone[-1], log.state().counters["capped"]) == (50_000, 0), "honest outcomes find the better variant"
    flooded, log = parts_of_b(bots=True, cap=BOT_CAP)
    uncapped, _ = parts_of_b(bots=True, cap=None)
    moved, teeth = (max(abs(a - b) for a, b in zip(alone, other, strict=True)) for other in (flooded, uncapped))
    check("SE-06", f"moved ≤ {LIMIT:,} parts with a cap, more without, alert", f"moved {moved:,} with a cap of "
          f"{BOT_CAP}, {teeth:,} without{', alert' if alert(log)[0] else ''}",
          moved <= LIMIT < teeth and alert(log)[0])  # fmt: skip


def parts_of_b(*, bots: bool, cap: int | None) -> tuple[list[int], Log]:
    """b's parts after each quarter of an hour; bots send a fifth of all traffic, each outcome a success of b."""
    log = Log(constraints={"min_trials": 300, "cooldown_seconds": 0}, max_outcomes_per_unit_hour=cap)
    reallocate = Reallocate(log.publications, lambda _: log.store)
    rng, parts = random.Random(6), []
    for number in range(ROUNDS):
        current = log.control.show("checkout").allocation
        assert current is not None
        now = {"epoch": current.epoch, "occurred_at": log.clock.now}
        honest = [
            event(variant=v, unit_id=f"{number}-{n}", metrics={"converted": int(rng.random() < RATES[v])}, **now)
            for n, v in enumerate(rng.choices(list(RATES), [current.weights[v] for v in RATES], k=HONEST))
        ]
        flood = [event(unit_id=f"bot-{n % BOTS}", **now) for n in range(HONEST // 4)] if bots else []
        log.columns(batch(flood + honest, sent_at=log.clock.now))
        log.drain()
        reallocate.recompute("checkout")
        parts.append(log.control.show("checkout").parts["b"])
        log.clock.now += HOUR // 4
    return parts, log
