"""Upkeep: what keeps log and state bounded never changes what was counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from logs import HOUR, Log, definition, event
from trimtab.fold.state import EpochRecord, ExperimentState
from trimtab.schema.control import EpochStart
from trimtab.schema.experiment import Experiment
from trimtab_worker.services.maintain import MAX_EPOCHS, Maintain, nearest_neighbours
from trimtab_worker.services.rebuild import rebuild

PARTS = 1_000_000


def with_epochs(shares: list[int]) -> ExperimentState:
    """An experiment whose epochs served these parts to b."""
    epochs = {n: EpochRecord(n, {"control": PARTS - b, "b": b}) for n, b in enumerate(shares, start=1)}
    return ExperimentState(definition=Experiment.parse(definition()), epochs=epochs)


@given(st.lists(st.integers(0, PARTS), min_size=2, max_size=60), st.integers(2, 30))
def test_as_many_epochs_remain_as_asked_and_the_newest_is_one_of_them(shares: list[int], keep: int) -> None:
    """Every merged epoch goes into an earlier one that stays, and only neighbours in time are joined."""
    state = with_epochs(shares)
    into = nearest_neighbours(state, keep=keep)
    left = set(state.epochs) - set(into)
    assert len(left) <= max(keep, 2)
    assert len(shares) in left
    for old, new in into.items():
        assert new in left
        assert set(range(new + 1, old + 1)) <= set(into), "nobody between them stays"


def test_neighbours_with_like_weights_are_merged_first() -> None:
    state = with_epochs([100, 110, 900_000, 900_005, 300_000, 1])
    assert nearest_neighbours(state, keep=4) == {2: 1, 4: 3}


def test_a_slow_drift_of_weights_is_cut_into_pieces_of_like_length() -> None:
    """Each is next to nothing away from its neighbour, and the first far away from the last."""
    into = nearest_neighbours(with_epochs([1000 * n for n in range(65)]), keep=9)
    sizes = [1 + sum(new == head for new in into.values()) for head in {*range(1, 65)} - set(into)]
    assert max(sizes) <= 8 * 2
    assert len(sizes) == 8


def test_an_experiment_with_too_many_epochs_is_compacted_and_loses_no_event() -> None:
    log = Log()
    for number in range(2, MAX_EPOCHS + 60):
        log.clock.now += 1000
        log.row(event(epoch=number - 1, occurred_at=log.clock.now))
        parts = {"control": PARTS - number, "b": number}
        log.store.announce("checkout", number, _start(log, number, parts))
    log.drain()
    before = log.state()
    Maintain(log.store, 10**12).compact()
    log.row(event(epoch=7, occurred_at=log.clock.now))
    log.drain()
    after = log.state()
    assert len(after.epochs) == MAX_EPOCHS // 2
    assert sum(after.trials.values()) == sum(before.trials.values()) + 1
    assert after.epoch_in_force == before.epoch_in_force
    assert rebuild(log.store, verify=True).identical
    Maintain(log.store, 10**12).compact()
    assert log.drain().entries == 0, "once is enough"


def test_a_log_that_knows_the_time_is_left_alone_and_a_quiet_one_is_told() -> None:
    log = Log()
    log.drain()
    Maintain(log.store, 10**12).tick_clock()
    assert log.drain().entries == 0
    log.clock.now += 30 * HOUR
    Maintain(log.store, 10**12).tick_clock()
    log.drain()
    assert log.store.load().clock == log.clock.now


def _start(log: Log, epoch: int, parts: dict[str, int]) -> bytes:
    return EpochStart(at=log.clock.now, experiment_id="checkout", epoch=epoch, parts=parts).model_dump_json().encode()
