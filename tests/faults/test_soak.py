"""The long run, smaller: worker and server kills, lost replies and producer duplicates at once (`make soak`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.reporting import Check
from faults.soak import Plan, Soak


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_under_fire(tmp_path: Path, check: Check) -> None:
    plan = Plan(events=60_000, worker_kills=20, server_kills=6, seed=7)
    lines = {line.name: line for line in Soak(plan, tmp_path / "soak").run()}
    assert [line for line in lines.values() if not line.ok] == []
    lost, double = lines["lost"].observed, lines["counted twice"].observed
    fire = f"{plan.events:,} events, {lines['worker kills'].observed} worker and {plan.server_kills} server kills"
    check("EO-01", "lost 0, double 0", f"lost {lost}, double {double} ({fire})", (lost, double) == ("0", "0"))
    check("EO-04", "acknowledged lost 0, double 0", f"lost {lost}, double {double}", (lost, double) == ("0", "0"))
    check("DP-03", "0 torn or backward", lines["reads: torn or backward"].observed, lines["reads: torn or backward"].ok)
    revisions = lines["revisions, each in the ledger"]
    check("DP-01", f"gapless: {revisions.expected}, each in the ledger", revisions.observed, revisions.ok)
