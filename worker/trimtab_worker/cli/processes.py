"""Child processes that must not be down: each in a group of its own, restarted when it dies, ended in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trimtab_worker.embedded import end_with_parent

STOP_SECONDS = 20.0  # a drain ends within 10 s of being asked to, and a worker waits 15 s for its tasks
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.2, 10.0
STEADY_SECONDS = 10.0  # who lived that long did not die of its start

Say = Callable[[str], None]


@dataclass(slots=True)
class Child:
    """One process: how to start it, where its log goes, and how it fares."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = FIRST_DELAY_SECONDS
    again_at: float = field(default=0.0)
    restarts: int = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self) -> None:
        """Start it from this thread, which must outlast it: on Linux it ends with the thread that started it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor, which then ends its children in order
                preexec_fn=end_with_parent(),
            )
        self.started_at = time.monotonic()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to everything it has started as well."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def last_words(self) -> str:
        """The end of its log, for the line that reports its death."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            lines = log.read().decode(errors="replace").strip().splitlines()
            return lines[-1][-300:] if lines else ""
        return ""


class Supervisor:
    """Keeps children alive; `watch` is called again and again by whoever owns it."""

    def __init__(self, children: Sequence[Child], say: Say) -> None:
        self.children = list(children)
        self._say = say

    @property
    def pids(self) -> dict[str, int]:
        return {child.name: child.pid for child in self.children if child.pid is not None}

    def start(self) -> None:
        for child in self.children:
            child.start()

    def watch(self) -> bool:
        """Restart who died, not at once again and again; returns whether anything was started."""
        started = [self._look_after(child) for child in self.children]
        return any(started)

    def _look_after(self, child: Child) -> bool:
        now = time.monotonic()
        if child.process is not None and child.process.poll() is not None:
            child.signal(signal.SIGKILL, group=True)  # pool processes that outlived their parent hold its tasks
            child.delay = FIRST_DELAY_SECONDS if now - child.started_at > STEADY_SECONDS else child.delay
            self._say(f"{child.name} {_how(child.process.returncode)}; restarting it. {_quote(child)}".rstrip())
            child.again_at, child.process = now + child.delay, None
            child.delay = min(2 * child.delay, LONGEST_DELAY_SECONDS)
        if child.process is None and now >= child.again_at:
            child.start()
            child.restarts += 1
            return True
        return False

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask everybody to end, wait, and kill who has not."""
        for child in self.children:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + seconds
        for child in self.children:
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))
                child.signal(signal.SIGKILL, group=True)
                child.process.wait()
                child.process = None


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _quote(child: Child) -> str:
    """Its last words where it ended by itself; who was killed had no time for any."""
    killed = child.process is not None and (child.process.returncode or 0) < 0
    words = "" if killed else child.last_words()
    return f"Its last words: {words}" if words else ""
