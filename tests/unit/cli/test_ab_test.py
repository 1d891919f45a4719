"""An A/B test from its creation to its end, as a user has it: two named shares, one sentence, nothing counted twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from trimtab.client.flags import FlagClient
from trimtab.clock import system_clock
from trimtab_worker.bootstrap import Services

CREATE = (
    *("experiment", "create", "--id", "signup", "--variants", "control,short", "--strategy", "fixed"),
    *("--metric", "completed", "--metric", "seconds:continuous", "--metric", "rating:continuous"),
    *("--assignment-ratio", "control=0.7,short=0.3", "--min-sample-size", "100"),
)

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def running(cli: Cli) -> Cli:
    """The same, with the A/B test `signup` running at 70 : 30."""
    assert cli(*CREATE, "--start")[0] == 0
    return cli


def assigned(units: Iterable[str]) -> dict[str, str]:
    """Unit → variant, by a client of its own."""
    with FlagClient(experiments=["signup"]) as flags:
        return {unit: flags.variant("signup", unit, default="control").variant for unit in units}


def send(cli: Cli, outcomes: dict[str, str], completes: Callable[[str, int], int]) -> None:
    """One outcome for each unit, then what an ingest worker would do."""
    lines = [
        json.dumps(
            {
                "experiment_id": "signup",
                "variant": variant,
                "unit_id": unit,
                "epoch": 1,
                "occurred_at": system_clock(),
                "metrics": {"completed": completes(variant, n), "seconds": 30 + n % 7, "rating": 1 + n % 5},
            }
        )
        for n, (unit, variant) in enumerate(outcomes.items())
    ]
    assert cli("send", "-", stdin="\n".join(lines))[0] == 0
    services = Services()
    services.ingest(0).drain(holder="test")
    services.close()


def better_when_short(variant: str, n: int) -> int:
    return int(n % 10 < (7 if variant == "short" else 4))


def read(cli: Cli, *command: str) -> Any:
    code, out, err = cli(*command, "signup", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def counted(cli: Cli) -> dict[str, int]:
    return {variant: sums["completed"]["n"] for variant, sums in read(cli, "stats")["totals"].items()}


def sentence(cli: Cli) -> str:
    return str(read(cli, "report")["sentence"])


def test_units_are_assigned_by_the_named_shares_and_every_client_agrees_for_good(running: Cli) -> None:
    """4,000 units at .3: s.d. 29, so four of them bound the group. A recompute moves nobody."""
    units = [f"visitor-{n}" for n in range(4000)]
    assert read(running, "weights")["weights"] == {"control": 700_000, "short": 300_000}
    first = assigned(units)
    assert abs(list(first.values()).count("short") - 1200) <= 4 * 29
    send(running, first, better_when_short)
    assert running("recompute", "signup")[0] == 0
    assert assigned(reversed(units)) == first


def test_each_group_needs_its_sample_then_one_sentence_says_what_to_do(running: Cli) -> None:
    units = assigned(f"visitor-{n}" for n in range(200))
    send(running, units, better_when_short)
    small = list(units.values()).count("short")
    assert small < 100
    assert sentence(running) == f"Insufficient data (need 100 per group): the smallest group has {small}."
    send(running, assigned(f"visitor-{n}" for n in range(200, 3000)), better_when_short)
    assert sentence(running).startswith("Ship short: completed is ")
    report = read(running, "report")
    assert [metric["name"] for metric in report["metrics"]] == ["completed", "seconds", "rating"]
    assert report["ab"]["winner"] == "short"


def test_a_unit_counts_once_however_many_outcomes_it_has(running: Cli) -> None:
    """Else ten users with twenty outcomes each would pass for two hundred."""
    units = assigned(f"visitor-{n}" for n in range(300))
    send(running, units, better_when_short)
    before = read(running, "stats")["totals"]
    for _ in range(3):
        send(running, units, lambda variant, n: 1)
    assert read(running, "stats")["totals"] == before
    assert sum(counted(running).values()) == 300


def test_outcomes_after_the_stop_are_refused_with_the_reason(running: Cli) -> None:
    units = assigned(f"visitor-{n}" for n in range(3000))
    send(running, units, better_when_short)
    said = sentence(running)
    assert running("experiment", "stop", "signup")[0] == 0
    send(running, {"visitor-late": "short"}, lambda variant, n: 1)
    stats = read(running, "stats")
    assert sum(counted(running).values()) == 3000
    assert stats["dead"] == {"stopped": 1}
    assert sentence(running) == said
    code, _, err = running("experiment", "stop", "signup")
    assert (code, "is stopped and cannot become stopped" in err) == (1, True), "the end does not move"


def test_show_names_the_ratio_and_the_sample(running: Cli) -> None:
    out = running("experiment", "show", "signup")[1]
    assert "assignment ratio control 0.7, short 0.3, at least 100 units a group" in out


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (("--strategy", "thompson"), 1, "assignment_ratio belongs to A/B tests, whose weights stay"),
        (("--assignment-ratio", "control=0.7,short=0.4"), 1, "the shares add up to 1.1, not to 1"),
        (("--assignment-ratio", "control=0.7"), 1, "gives no share to 'short'"),
        (("--assignment-ratio", "70:30"), 2, "'70:30' is not of the form VARIANT=SHARE,VARIANT=SHARE"),
        (("--assignment-ratio", "control=most,short=few"), 2, "has a share that is no number"),
        (("--min-sample-size", "0"), 1, "min_sample_size: Input should be greater than or equal to 1"),
        (("-",), 2, "give either a FILE or options that describe the experiment, not both"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(
    cli: Cli, changes: tuple[str, ...], code: int, words: str
) -> None:
    found, out, err = cli(*CREATE, *changes)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert words in err


def test_a_running_test_keeps_its_ratio_until_it_is_taken_away(running: Cli) -> None:
    """What was served cannot be unsaid; another variant finds no room beside shares that add up to 1."""
    update = ("experiment", "update", "signup", "--set")
    other = running(*update, 'assignment_ratio={"control": 0.5, "short": 0.5}')
    assert (other[0], "can only be taken away" in other[2]) == (1, True)
    added = running("experiment", "add-variant", "signup", "long")
    assert (added[0], "leaves nothing for another variant; set it to null first" in added[2]) == (1, True)
    assert running(*update, "min_sample_size=50", "--set", "thresholds.harm=0.8")[0] == 0
    assert running(*update, "assignment_ratio=null")[0] == 0
    assert running("experiment", "add-variant", "signup", "long")[0] == 0
    experiment = read(running, "experiment", "show")["experiment"]
    assert (experiment["assignment_ratio"], experiment["min_sample_size"]) == (None, 50)
    assert (experiment["thresholds"]["harm"], experiment["thresholds"]["futility"]) == (.8, .05)
