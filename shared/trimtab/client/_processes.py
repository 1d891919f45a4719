"""What must happen to clients with a background thread when their process forks or ends.

Threads do not survive a fork, and locks may be held at that moment; whoever registers here is told in the child.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol
from weakref import WeakSet


class Living(Protocol):
    """Something that a fork would break, and that has something to finish when the process ends."""

    def after_fork(self) -> None:
        """Called in the child, where no other thread runs."""

    def at_exit(self) -> None:
        """Called once when the interpreter ends in order; must not raise."""


_living: WeakSet[Living] = WeakSet()


def register(client: Living) -> None:
    """Tell `client` about forks and about the end of the process; it may be collected all the same."""
    _living.add(client)


def _after_fork() -> None:
    for client in list(_living):
        client.after_fork()


def _at_exit() -> None:
    for client in list(_living):
        client.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
