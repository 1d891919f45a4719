"""Traffic: units ask a real flag client what they see, and a real publisher reports what came of it."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from trimtab.client.flags import FlagClient
from trimtab.client.publisher import Publisher
from trimtab.clock import system_clock
from trimtab.errors import TrimtabError
from trimtab_worker.cli.demo.world import METRIC, World

PULSE_SECONDS = 0.02
POLL_SECONDS = 0.5  # new weights reach the units twice as often as they are decided
FLUSH_SECONDS = 30.0
SEED = 0


@dataclass(slots=True)
class Tally:
    """What we know to have sent of one variant."""

    n: int = 0
    successes: int = 0


class Traffic:
    """Runs in a thread of its own between `start` and `stop`."""

    def __init__(self, redis_url: str, world: World, rate: int) -> None:
        self._world = world
        self._rate = rate
        self._flags = FlagClient(redis_url, experiments=[world.experiment_id], poll_seconds=POLL_SECONDS)
        self._publisher = Publisher(redis_url)
        self._rng = random.Random(SEED)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)
        self._began = time.monotonic()
        self._ended: float | None = None
        self._units = 0
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.failure: Exception | None = None

    @property
    def sent(self) -> int:
        """Outcomes that the server has confirmed."""
        return self._publisher.sent

    @property
    def seconds(self) -> float:
        """How long it has flowed."""
        return (self._ended or time.monotonic()) - self._began

    def start(self) -> None:
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Let no more units come, and deliver what is on its way.

        Raises:
            TrimtabError: something could not be delivered.
        """
        self._halt.set()
        self._thread.join()
        self._ended = self._ended or time.monotonic()
        if self.failure is not None:
            raise self.failure
        self._publisher.flush(FLUSH_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt.set()
        if self._thread.is_alive():
            self._thread.join()
        self._publisher.close()
        self._flags.close()

    def _run(self) -> None:
        try:
            while not self._halt.wait(PULSE_SECONDS):
                seconds = self.seconds
                due = int(seconds * self._rate) - self._units
                for _ in range(min(due, self._rate)):  # after a stall: no more than a second's worth at once
                    self._one(seconds)
        except TrimtabError as error:
            self.failure = error

    def _one(self, seconds: float) -> None:
        """A unit comes, sees a variant, and converts or does not."""
        world = self._world
        unit = f"unit-{self._units}"
        self._units += 1
        answer = self._flags.variant(world.experiment_id, unit)
        if answer.variant is None:
            return  # no allocation yet: the unit sees the application's default and is no part of the experiment
        success = self._rng.random() < world.rate(answer.variant, seconds)
        self._publisher.publish(
            experiment_id=world.experiment_id,
            variant=answer.variant,
            unit_id=unit,
            epoch=answer.epoch,
            propensity=answer.propensity,
            metrics={METRIC: int(success)},
            occurred_at=system_clock(),
        )
        tally = self.tallies[answer.variant]
        tally.n += 1
        tally.successes += success
