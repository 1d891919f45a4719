"""Whichever copies of a data server come back, in whichever order: no epoch number is given out twice (DP-13)."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logs import Log, definition, event
from trimtab.ports import Published
from trimtab.schema.base import PARTS
from trimtab.schema.decision import Act
from trimtab.schema.event import MAX_EPOCH
from trimtab.schema.experiment import Experiment, Status
from trimtab.succession import EPOCHS_PER_SECOND, LAST_BEGINNING, Change, announce_epoch, epochs_from, succeed

SHORTEST_MS = 1000 // EPOCHS_PER_SECOND
pauses = st.integers(SHORTEST_MS, 10 * SHORTEST_MS) | st.integers(SHORTEST_MS, 10**10)


class Server:
    """A data server whose data can be copied, and which can come back with any of its copies."""

    def __init__(self) -> None:
        self.log = Log()
        self.store: Any = self.log.store
        self.publications: Any = self.log.publications
        self.copies: list[Any] = [self._data()]
        self.lives = 1

    def _data(self) -> Any:
        return copy.deepcopy((self.store._all, self.publications._published, self.publications._ledgers))

    def copy(self) -> None:
        self.copies.append(self._data())

    def come_back(self, which: int) -> None:
        """In another life, with the copy of this number (modulo how many there are)."""
        self.lives += 1
        data = copy.deepcopy(self.copies[which % len(self.copies)])
        self.store._all, self.publications._published, self.publications._ledgers = data
        self.store._all.life = self.publications.life = str(self.lives)

    def hold(self) -> None:
        """A publication without a new epoch, such as the held decision after a restore."""
        self.log.control.update("checkout", {"description": "as it was"})

    def move(self) -> int:
        """Publish other weights; returns their epoch."""
        current, now = self.log.control.show("checkout"), self.log.clock.now
        parts = {"control": current.parts["b"] - 1, "b": PARTS - current.parts["b"] + 1}
        epoch = announce_epoch(self.store, current, parts, now)
        number, revision = current.decision_id + 1, current.revision + 1
        act = Act(
            decision_id=number, experiment_id="checkout", revision=revision, epoch=epoch, act="update", by="tester",
            decided_at=now, parts=parts, sentence="Moved.",
        )  # fmt: skip
        change = Change(
            current.experiment, current.status, epoch, parts, "Moved.", now, data_until=0, changed_at=now
        )  # fmt: skip
        self.publications.publish(succeed(current, change, act))
        return epoch


@given(st.lists(st.tuples(st.sampled_from(["move", "hold", "copy", "come back"]), pauses, st.integers(0, 9))))
def test_no_number_is_given_to_two_epochs(steps: list[tuple[str, int, int]]) -> None:
    """At most two epochs a second, twice what the shortest period allows; copies of any age, also one of them twice."""
    server, given_out = Server(), [1]
    for what, pause, which in steps:
        server.log.clock.now += pause
        match what:
            case "move":
                given_out.append(server.move())
            case "hold":
                server.hold()
            case "copy":
                server.copy()
            case "come back":
                server.come_back(which)
    assert len(given_out) == len(set(given_out))
    assert all(1 <= epoch <= MAX_EPOCH for epoch in given_out)


def test_within_a_life_epochs_are_numbered_on() -> None:
    server = Server()
    assert [server.move() for _ in range(3)] == [2, 3, 4]
    server.copy()
    server.come_back(-1)
    first = server.move()
    assert [first, server.move()] == [first, first + 1]


def test_a_draft_that_comes_back_does_not_begin_at_one() -> None:
    """It may have been started, and served, in the part that is lost."""
    server = Server()
    server.log.control.create(definition(id="draft"))
    server.copy()
    server.log.control.start("draft")
    server.come_back(-1)
    server.log.control.update("draft", {"description": "changed before it is started"})
    server.log.control.start("draft")
    started = server.log.control.show("draft").allocation
    assert started is not None
    assert started.epoch > 1


def test_outcomes_of_a_lost_epoch_are_refused_and_count_nowhere() -> None:
    server = Server()
    server.copy()
    lost = [server.move() for _ in range(3)]
    server.come_back(-1)
    now = server.log.clock.now
    after = [server.move() for _ in range(3)]
    for epoch in (1, *lost, *after):
        server.log.row(event(epoch=epoch, occurred_at=now))
    server.log.drain()
    assert server.log.dead_codes() == ["unknown_epoch"] * len(lost)
    assert {epoch: n for (epoch, _), n in server.log.state().trials.items()} == dict.fromkeys([1, *after], 1)


@given(st.integers(0, 10**14))
def test_whatever_the_clock_says_there_are_numbers_left(now: int) -> None:
    experiment = Experiment.parse(definition())
    found = epochs_from(Published(experiment, Status.RUNNING, restored=True), now)
    assert 1 <= found <= LAST_BEGINNING < MAX_EPOCH - 10**7
