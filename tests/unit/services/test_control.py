"""Orders: each takes effect at once, is explained in the ledger, and is refused where the status forbids it."""

from __future__ import annotations

import threading

import pytest

from logs import Log, definition
from trimtab.adapters.memory import MemoryPartition, MemoryPublications
from trimtab.client._holdings import parsed
from trimtab.client.control import Control
from trimtab.errors import ConfigurationError, Conflict, IllegalTransition, InvalidInput, NotFound
from trimtab.ports import Publication
from trimtab.schema.experiment import Status


def test_start_publishes_the_configured_shares() -> None:
    log = Log(variants=[{"id": "control", "initial_weight": 0.75}, {"id": "b", "initial_weight": 0.25}])
    current = log.control.show("checkout")
    assert current.allocation is not None
    assert current.allocation.weights == {"control": 750_000, "b": 250_000}
    assert (current.allocation.epoch, current.allocation.revision, current.status) == (1, 2, Status.RUNNING)
    assert "75.0%" in current.allocation.reason


def test_hold_keeps_weights_and_resume_lets_them_move() -> None:
    log = Log()
    before = log.control.show("checkout").parts
    assert log.control.hold("checkout", reason="incident 7", by="ann") == 3
    held = log.control.show("checkout")
    assert (held.status, held.parts, held.paused) == (Status.HELD, before, "incident 7")
    entry = log.control.explain("checkout")
    assert entry.kind == "act"
    assert (entry.act, entry.by) == ("hold", "ann")
    log.control.resume("checkout")
    assert log.control.show("checkout").status is Status.RUNNING


def test_halt_sends_a_variant_to_zero_until_resume() -> None:
    log = Log(variants=[{"id": "control"}, {"id": "b"}, {"id": "c"}])
    log.control.halt("checkout", "b", reason="crashes")
    halted = log.control.show("checkout")
    assert halted.parts == {"control": 500_000, "b": 0, "c": 500_000}
    assert halted.halted == ("b",)
    assert halted.allocation is not None
    assert halted.allocation.epoch == 2
    log.control.resume("checkout", reason="fixed")
    assert log.control.show("checkout").halted == ()


def test_halt_of_everything_leaves_control_alone() -> None:
    log = Log(variants=[{"id": "control"}, {"id": "b"}, {"id": "c"}])
    log.control.halt("checkout", reason="bad day")
    assert log.control.show("checkout").parts == {"control": 1_000_000, "b": 0, "c": 0}


def test_the_control_cannot_be_halted() -> None:
    with pytest.raises(InvalidInput, match="control"):
        Log().control.halt("checkout", "control", reason="no")


def test_stop_keeps_weights_for_ever_and_conclude_chooses_one() -> None:
    log = Log()
    before = log.control.show("checkout").parts
    log.control.stop("checkout")
    stopped = log.control.show("checkout")
    assert stopped.allocation is not None
    assert (stopped.parts, stopped.allocation.valid_until) == (before, None)
    log.control.conclude("checkout", "b", reason="it won")
    assert log.control.show("checkout").parts == {"control": 0, "b": 1_000_000}


@pytest.mark.parametrize(
    ("orders", "refused"),
    [
        (["stop"], "start"),
        (["stop"], "hold"),
        (["stop"], "resume"),
        (["stop"], "halt"),
        (["conclude"], "stop"),
        (["hold"], "hold"),
        ([], "start"),
        ([], "resume"),
    ],
)
def test_orders_that_the_status_forbids_are_refused(orders: list[str], refused: str) -> None:
    log = Log()
    arguments = {"conclude": {"variant": "b"}, "halt": {"variant": "b", "reason": "x"}, "hold": {"reason": "x"}}
    for order in orders:
        getattr(log.control, order)("checkout", **arguments.get(order, {}))
    before = log.control.show("checkout")
    with pytest.raises(IllegalTransition):
        getattr(log.control, refused)("checkout", **arguments.get(refused, {}))
    assert log.control.show("checkout") == before


def test_an_experiment_is_created_once() -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        Log().control.create(definition())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"variants": [{"id": "a"}, {"id": "a"}]}, "'a' is used twice"),
        ({"strategy": "magic"}, "strategy"),
        ({"constraints": {"min_weight": 0.6}}, "min_weight"),
        ({"constraints": {"max_step": -1}}, "max_step"),
        ({"constraints": "wild_defaults"}, "wild_defaults"),
        ({"control": "nobody"}, "'nobody'"),
        ({"metrics": []}, "metrics"),
        ({"id": "a}:x{"}, "id"),
        ({"variants": [{"id": "a", "initial_weight": 0.9}, {"id": "b", "initial_weight": 0.9}]}, "1.8"),
        ({"constraints": {"ceilings": {"control": 0.1, "b": 0.1}}}, "0.2"),
    ],
)
def test_a_bad_definition_gets_one_sentence_that_names_the_field(changes: dict[str, object], named: str) -> None:
    control = Control.over(MemoryPublications(), lambda _: MemoryPartition(), by="tester")
    with pytest.raises(ConfigurationError) as caught:
        control.create(definition(**changes))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert control.list() == []


def test_a_running_experiment_changes_only_what_keeps_its_statistics() -> None:
    log = Log()
    log.control.update("checkout", {"constraints": {"max_step": 0.02}}, reason="careful")
    log.control.update("checkout", {"constraints": {"min_trials": 7}})
    limits = log.control.show("checkout").experiment.constraints
    assert (limits.max_step, limits.min_trials) == (0.02, 7), "what is not named keeps its value"
    with pytest.raises(ConfigurationError, match="metrics cannot change"):
        log.control.update("checkout", {"metrics": []})


def test_unknown_experiments_and_decisions_are_named() -> None:
    log = Log()
    with pytest.raises(NotFound, match="those that exist: checkout"):
        log.control.show("chekout")
    with pytest.raises(NotFound, match="no decision 99"):
        log.control.explain("checkout", 99)


def test_orders_race_without_losing_a_revision() -> None:
    """DP-01: revisions are gapless and distinct, whoever wins."""
    log = Log()
    revisions: list[int] = []

    def order(number: int) -> None:
        revisions.append(log.control.update("checkout", {"description": f"by {number}"}))

    threads = [threading.Thread(target=order, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(revisions) == list(range(3, 15))


def test_an_order_that_loses_a_race_is_run_again() -> None:
    log = Log()
    publish, lost = log.publications.publish, []

    def losing(publication: Publication) -> None:
        if len(lost) < 3:
            lost.append(publication)
            raise Conflict("somebody was faster")
        publish(publication)

    log.publications.publish = losing  # type: ignore[method-assign]
    assert log.control.hold("checkout", reason="x") == 3
    assert len(lost) == 3


@pytest.mark.parametrize(
    ("limits", "order", "expected"),
    [
        ({"ceilings": {"c": 0.1}}, "start", {"control": 450_000, "b": 450_000, "c": 100_000}),
        ({"pins": {"control": 0.5}}, "start", {"control": 500_000, "b": 250_000, "c": 250_000}),
        ({"ceilings": {"c": 0.4}}, "halt", {"control": 600_000, "b": 0, "c": 400_000}),
        ({"pins": {"control": 0.5}}, "halt", {"control": 500_000, "b": 0, "c": 500_000}),
        ({"pins": {"control": 0.5}}, "retire", {"control": 500_000, "b": 0, "c": 500_000}),
    ],
)
def test_what_a_person_orders_keeps_ceilings_and_pins(
    limits: dict[str, object], order: str, expected: dict[str, int]
) -> None:
    log = Log(variants=[{"id": "control"}, {"id": "b"}, {"id": "c"}], constraints=limits)
    if order == "halt":
        log.control.halt("checkout", "b", reason="x")
    if order == "retire":
        log.control.retire_variant("checkout", "b")
    assert log.control.show("checkout").parts == expected


def test_a_draft_with_a_retired_variant_starts_without_it() -> None:
    log = Log(variants=[{"id": "control"}, {"id": "b"}, {"id": "c", "retired": True}])
    assert log.control.show("checkout").parts == {"control": 500_000, "b": 500_000, "c": 0}


def test_initial_weights_outside_the_limits_are_refused() -> None:
    variants = [{"id": "control", "initial_weight": 0.8}, {"id": "b", "initial_weight": 0.2}]
    with pytest.raises(ConfigurationError, match=r"'b' begins at 0\.2, outside its limits"):
        Log(variants=variants, constraints={"ceilings": {"b": 0.1}})


@pytest.mark.parametrize("reason", ["\udcff of another terminal", "a trace\n" * 200_000, "\0", ""])
def test_no_order_fails_for_its_reason(reason: str) -> None:
    """What it says is cut and mended, and every client reads the allocation."""
    log = Log()
    log.control.hold("checkout", reason=reason)
    log.control.halt("checkout", "b", reason=reason, by="\udcff" * 5000)
    current = log.control.show("checkout")
    assert (current.status, current.parts["b"]) == (Status.HELD, 0)
    assert current.allocation is not None
    raw = current.allocation.model_dump_json().encode()
    assert len(raw) < 5000
    assert parsed("checkout", raw) == current.allocation
    assert log.control.explain("checkout").sentence.startswith(f"Halted b: {reason[:1]}".replace("\udcff", "?"))
