"""The demo's verdict: a lost, a doubled or a wrong outcome makes it fail, whatever else went well."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.ports import Published
from trimtab.schema.decision import Act
from trimtab.schema.experiment import Experiment, Status
from trimtab_worker.cli.demo.screen import View
from trimtab_worker.cli.demo.traffic import Tally
from trimtab_worker.cli.demo.verdict import Verdict, judge
from trimtab_worker.cli.demo.world import METRIC, World
from trimtab_worker.services.statistics import Statistics, Sums

WORLD = World(experiment_id="demo-x")
SENT = {"control": Tally(10, 1), "green": Tally(20, 2), "blue": Tally(30, 3)}
COUNTED = {"control": (10, 1), "green": (20, 2), "blue": (30, 3)}


def verdict(counted: dict[str, tuple[int, int]], sent: dict[str, Tally] | None = None) -> Verdict:
    """The verdict over what the fold is said to have counted: (trials, successes) per variant."""
    totals = {name: {METRIC: _sums(n, successes)} for name, (n, successes) in counted.items()}
    found = Statistics(
        experiment_id="demo-x", status=Status.RUNNING, data_until=0, epochs=[], cells=[],
        trials={name: n for name, (n, _) in counted.items()}, totals=totals,
        folded=sum(n for n, _ in counted.values()), duplicates=0, capped=0, conflicts=0, unstamped=0, clipped={},
        dead={},
    )  # fmt: skip
    experiment = Experiment.parse(WORLD.definition())
    act = Act(
        decision_id=1, experiment_id="demo-x", revision=1, epoch=1, act="start", by="test", decided_at=0, parts={},
        sentence="Started.",
    )  # fmt: skip
    published = Published(experiment=experiment, status=Status.RUNNING, revision=5)
    view = View(WORLD, 10, 10, 60, found, published, act)
    return judge(view, SENT if sent is None else sent, WORLD)


def _sums(n: int, successes: int) -> Sums:
    return Sums(n=n, total=successes, total_sq=successes, mean=None, scaled_total=successes, scaled_total_sq=successes)


@pytest.mark.parametrize(
    ("counted", "lost", "double", "exact"),
    [
        (COUNTED, 0, 0, True),
        ({**COUNTED, "green": (19, 2)}, 1, 0, True),
        ({**COUNTED, "green": (22, 2)}, 0, 2, True),
        ({**COUNTED, "green": (19, 2), "blue": (31, 3)}, 1, 1, True),  # the sum alone would not tell
        ({**COUNTED, "blue": (30, 4)}, 0, 0, False),
    ],
)
def test_each_variant_is_compared_by_itself(
    counted: dict[str, tuple[int, int]], lost: int, double: int, exact: bool
) -> None:
    found = verdict(counted)
    assert (found.lost, found.double, found.exact) == (lost, double, exact)


def test_a_demo_is_good_only_if_all_is_counted_once_and_weights_moved() -> None:
    fields: dict[str, Any] = {name: getattr(verdict(COUNTED), name) for name in Verdict.__slots__}
    assert Verdict(**{**fields, "moves": 1}).good
    for spoiled in ({"moves": 0}, {"lost": 1}, {"double": 1}, {"exact": False}):
        assert not Verdict(**{**fields, "moves": 1, **spoiled}).good


def test_a_demo_without_traffic_is_judged_and_not_good() -> None:
    found = verdict(dict.fromkeys(COUNTED, (0, 0)), sent={})
    assert (found.sent, found.served, found.good) == (0, 0.0, False)


def test_the_truth_keeps_its_order_while_its_level_swings() -> None:
    for seconds in range(120):
        rates = [WORLD.rate(variant, seconds) for variant in ("control", "green", "blue")]
        assert rates == sorted(rates)
        assert all(0 < rate < 1 for rate in rates)
    assert WORLD.best == "blue"
