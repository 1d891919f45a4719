"""A seeded scheduler: actors run one at a time, and before each command to the store another may get its turn.

Each actor is a thread that waits for its baton, so the very code of the services runs here, unaware. Between any two
commands an actor may crash, wait, lose an answer or have its command done twice; the seed says which.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import redis

T = TypeVar("T")
MOST_COMMANDS = 20_000  # a run takes some hundreds; one that does not end is a violation too
LATENCY_MS = 20


class Crashed(BaseException):
    """The process is gone: nothing of it runs any more, not even `except Exception`."""


@dataclass(frozen=True)
class Odds:
    """How probable each fault is at a command."""

    crash: float = 0.015
    lost_reply: float = 0.015
    twice: float = 0.015
    switch: float = 0.3  # that somebody else goes first


@dataclass(eq=False)
class Actor:
    """One process: `live` is called anew after each crash, until it returns."""

    name: str
    live: Callable[[], None]
    mortal: bool = True
    baton: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    dead: bool = False
    cut: bool = False  # its connection broke since its last command
    done: bool = False


class Schedule:
    """Who is next, what fails; `now` is the server's clock."""

    def __init__(self, seed: int, odds: Odds | None = None, now: int = 0) -> None:
        self.rng = random.Random(seed)
        self.odds = odds or Odds()
        self.now = now
        self.calm = False  # no more faults: everybody may finish
        self.commands = 0
        self.faults: dict[str, int] = {}
        self.trace: list[str] = []
        self.failure: BaseException | None = None
        self._actors: list[Actor] = []
        self._current: Actor | None = None
        self._ended = threading.Semaphore(0)

    def add(self, name: str, live: Callable[[], None], *, mortal: bool = True) -> None:
        """One more actor; one that is not mortal never crashes."""
        self._actors.append(Actor(name, live, mortal))

    def finished(self, *names: str) -> bool:
        """Whether all actors whose names begin so have ended."""
        return all(actor.done for actor in self._actors if actor.name.startswith(names))

    def run(self) -> None:
        """Let all actors live to their ends; raises what any of them raised."""
        threads = [threading.Thread(target=self._lives, args=(actor,), daemon=True) for actor in self._actors]
        for thread in threads:
            thread.start()
        self._pass_on()
        self._ended.acquire()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def command(self, name: str, effect: Callable[[], T], *, repeatable: bool = False) -> T:
        """Do `effect` as the current actor's command; every store method comes here."""
        actor = self._current
        if actor is None or threading.current_thread().name != actor.name:
            return effect()  # whoever checks the invariants is outside of the world
        if actor.dead:
            raise Crashed
        self._take_turns(actor)
        fault = self._fault(actor, repeatable)
        self.trace.append(f"{actor.name} {name} {fault}".rstrip())
        if actor.cut or fault == "no answer, nothing done":
            actor.cut = False
            raise redis.ConnectionError("the connection broke before the command was sent")
        if fault == "crash before":
            actor.dead = True
            raise Crashed
        answer = effect()
        if fault == "twice":
            answer = effect()
        if fault == "crash after":
            actor.dead = True
            raise Crashed
        if fault == "answer lost":
            raise redis.ConnectionError("the connection broke before the answer came")
        return answer

    def break_connections(self, *unnoticed: str) -> None:
        """The server is another process now: each actor notices at its next command.

        Those whose names begin with `unnoticed` may not: a client's library opens an idle connection again by itself.
        """
        for actor in self._actors:
            actor.cut = not (actor.name.startswith(unnoticed) and self.rng.random() < 0.5)

    def _take_turns(self, actor: Actor) -> None:
        self.now += self.rng.randrange(LATENCY_MS)
        self.commands += 1
        if self.commands > MOST_COMMANDS:
            raise AssertionError("no end in sight: the protocol makes no progress")
        if self.rng.random() < self.odds.switch:
            self._pass_on()
            actor.baton.acquire()
            if self.failure is not None:
                actor.dead = True
                raise Crashed

    def _fault(self, actor: Actor, repeatable: bool) -> str:
        if self.calm:
            return ""
        odds, draw = self.odds, self.rng.random()
        for fault, chance in (
            ("crash before", odds.crash / 2 if actor.mortal else 0),
            ("crash after", odds.crash / 2 if actor.mortal else 0),
            ("answer lost", odds.lost_reply / 2),
            ("no answer, nothing done", odds.lost_reply / 2),
            ("twice", odds.twice if repeatable else 0),
        ):
            draw -= chance
            if draw < 0:
                self.faults[fault] = self.faults.get(fault, 0) + 1
                return fault
        return ""

    def _lives(self, actor: Actor) -> None:
        threading.current_thread().name = actor.name
        actor.baton.acquire()
        while self.failure is None:
            try:
                actor.dead = False
                actor.live()
                break
            except Crashed:
                continue
            except BaseException as error:
                self.failure = error
        actor.done = True
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the baton to an actor drawn by lot; to `run` once all have ended."""
        waiting = [actor for actor in self._actors if not actor.done]
        if not waiting:
            self._current = None
            self._ended.release()
            return
        self._current = self.rng.choice(waiting)
        self._current.baton.release()


def attempt_until_done(act: Callable[[], Any], attempts: int = 1000) -> Any:
    """Repeat `act` while the connection breaks, as a client does that knows it may."""
    for _ in range(attempts):
        try:
            return act()
        except redis.ConnectionError:
            continue
    raise AssertionError("every attempt lost its connection")
