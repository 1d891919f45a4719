"""The HIV-results field experiment (Thornton 2008), the whole way: file → stream → worker → key → flag client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import causaldata
import pytest

from e2e.conftest import RunningSystem
from servers import wait_until
from trimtab.client.flags import FlagClient
from trimtab.schema.allocation import Allocation

MAX_STEP_PARTS = 200_000  # explore_defaults: .20
FLOOR_PARTS = 5_000  # explore_defaults: .005
DEFINITION = {
    "id": "thornton",
    "variants": [{"id": "0", "description": "no incentive"}, {"id": "1", "description": "any incentive"}],
    "metrics": [{"name": "got", "kind": "binary", "primary": True}],
    "strategy": "thompson",
    "constraints": {"preset": "explore_defaults", "cooldown_seconds": 0},
    "recompute_seconds": 1,
}
REPLAY = ("--experiment", "thornton", "--variant-column", "any", "--metric", "got=got")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The field experiment's table as a CSV file."""
    path = tmp_path_factory.mktemp("thornton") / "thornton.csv"
    causaldata.thornton_hiv.load_pandas().data.to_csv(path, index=False)
    return path


def test_a_real_field_experiment_goes_the_whole_way(system: RunningSystem, log: Path) -> None:
    """623 units without, 2,211 with an incentive; weights follow in bounded steps, each of them explained."""
    system.cli("experiment", "create", "-", "--start", stdin=json.dumps(DEFINITION))

    report = system.json("replay", str(log), *REPLAY)
    assert (report["rows"], report["usable"], report["sent"]) == (4820, 2834, 2834)
    assert sum(skipped["n"] for skipped in report["skipped"]) == 1986

    wait_until(lambda: counts(system) == {"0": (623, 211), "1": (2211, 1745)}, 30, what="the exact statistics")

    again = system.json("replay", str(log), *REPLAY)
    assert (again["sent"], again["already_counted"]) == (0, 2834)

    wait_until(lambda: weight(system, "1") == 1_000_000 - FLOOR_PARTS, 30, what="the incentive's full weight")
    check_ledger(system)
    assert counts(system) == {"0": (623, 211), "1": (2211, 1745)}
    assert system.json("stats", "thornton")["duplicates"] == 0

    document = system.json("weights", "thornton")
    assert Allocation.model_validate(document).model_dump(mode="json") == document
    with FlagClient(system.redis_url, experiments=["thornton"]) as flags:
        answers = [flags.variant("thornton", f"person-{n}", default="0") for n in range(1000)]
    assert {answer.reason for answer in answers} == {"SPLIT"}
    assert {answer.epoch for answer in answers} == {document["epoch"]}
    assert sum(answer.variant == "1" for answer in answers) > 980  # .995 of 1,000, sd 2.2
    assert system.json("rebuild", "thornton", "--verify")["identical"] is True


def counts(system: RunningSystem) -> dict[str, tuple[int, int]]:
    totals = system.json("stats", "thornton")["totals"]
    return {variant: (sums["got"]["n"], sums["got"]["total"]) for variant, sums in totals.items()}


def weight(system: RunningSystem, variant: str) -> int:
    return int(system.json("weights", "thornton")["weights"][variant])


def check_ledger(system: RunningSystem) -> None:
    """Each epoch moved the incentive up by at most one step, and says what bound it."""
    newest = system.json("explain", "thornton")["decision_id"]
    entries = [system.json("explain", "thornton", "--decision", str(n)) for n in range(1, newest + 1)]
    parts, epoch, moves = entries[0]["parts"]["1"], entries[0]["epoch"], 0
    assert (parts, epoch) == (500_000, 1)
    for entry in entries[1:]:
        if entry["outcome"] == "hold":
            assert (entry["parts"]["1"], entry["epoch"]) == (parts, epoch)
            assert entry["sentence"]
            continue
        moves += 1
        assert entry["epoch"] == epoch + 1
        assert 0 < entry["parts"]["1"] - parts <= MAX_STEP_PARTS
        check_explanation(entry, full_step=entry["parts"]["1"] - parts == MAX_STEP_PARTS)
        parts, epoch = entry["parts"]["1"], entry["epoch"]
    assert moves == 3  # .5 → .7 → .9 → .995


def check_explanation(entry: dict[str, Any], *, full_step: bool) -> None:
    """The entry names the bound in codes and in words: the step where it was a full one, else the other's floor."""
    verdicts = {(verdict["variant"], verdict["code"]): verdict["sentence"] for verdict in entry["verdicts"]}
    assert "1's share rises from" in entry["sentence"]
    if full_step:
        assert "at most 20.0 points" in verdicts["1", "max_step"]
        assert "at most 20.0 points" in entry["sentence"]
    else:
        assert "floor is 0.5 %" in verdicts["0", "floor"]
    known = entry["inputs"]
    assert (known["trials"], known["successes"]) == ([623, 2211], [211.0, 1745.0])
