"""The whole system on one machine: data server, broker, ingest worker, decide worker and beat."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from trimtab.adapters.redis.connection import connect
from trimtab.addresses import Addresses
from trimtab.errors import InvalidInput, Unavailable
from trimtab.settings import Settings, resolve_addresses
from trimtab_worker import health
from trimtab_worker.cli.processes import STOP_SECONDS, Child, Say, Supervisor
from trimtab_worker.embedded import BROKER_MAXMEMORY_BYTES, EmbeddedServer, EmbeddedServers

READY_SECONDS = 60.0  # two cold cores import numpy and scipy three times
PROCESSES_FILE = "processes.json"
_CELERY = (sys.executable, "-m", "celery", "-A", "trimtab_worker.app")
# Gossip and mingle tell workers of each other; ours share nothing but the data server.
_WORKER = (*_CELERY, "worker", "--without-gossip", "--without-mingle", "-c", "1")

COMMANDS: dict[str, Sequence[str]] = {
    "ingest": (*_WORKER, "-Q", "ingest", "-n", "ingest@%h"),
    "decide": (*_WORKER, "-Q", "decide", "-n", "decide@%h"),
    health.BEAT: (*_CELERY, "beat", "--pidfile="),  # no pid file: one left by a crash would refuse the next start
}
"""What runs beside the servers, by role; docker-compose.yml runs the very same."""


class System:
    """Started with `start`, looked after with `watch`, ended with `stop`; one thread does all three.

    Where the settings name a data server, workers and beat run against that one, and no data server is started.
    """

    def __init__(self, settings: Settings, say: Say, *, port: int = 0, stop_seconds: float = STOP_SECONDS) -> None:
        """Describe a system in `settings.directory`; nothing runs before `start`.

        Args:
            settings: addresses and the data directory.
            say: takes a line for the person watching.
            port: the data server's port; 0 takes a free one.
            stop_seconds: how long workers and beat may take to end before they are killed, which loses nothing.
        """
        self.directory = settings.directory.resolve()
        self._say = say
        self._stop_seconds = stop_seconds
        self._servers = _servers(settings, self.directory, port)
        self._supervisor = Supervisor([], say)

    @property
    def addresses(self) -> Addresses:
        return self._servers.addresses

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def start(self) -> Self:
        """Start everything and return when workers and beat have shown a sign of life.

        Raises:
            Unavailable: something did not come up; nothing is left running.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.logs.mkdir(exist_ok=True)
        try:
            self._servers.start()
            self._forget_earlier_life()
            self._supervisor = Supervisor([self._child(name, argv) for name, argv in COMMANDS.items()], self._say)
            self._supervisor.start()
            self._write_pids()
            self._await_life()
        except BaseException:
            self.stop()
            raise
        return self

    def watch(self) -> None:
        """Bring back whatever died."""
        gone = [name for name, server in self._servers.embedded.items() if not server.running]
        for name in gone:
            self._say(f"{name} has ended; restarting it.")
        if gone:
            self._servers.start()
        if self._supervisor.watch() or gone:
            self._write_pids()

    def stop(self) -> None:
        """End workers and beat, then the servers they need to end well."""
        self._supervisor.stop(self._stop_seconds)
        self._servers.stop()
        with contextlib.suppress(OSError):
            (self.directory / PROCESSES_FILE).unlink()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _child(self, name: str, argv: Sequence[str]) -> Child:
        environment = {
            **os.environ,
            "REDIS_URL": self.addresses.redis_url,
            "BROKER_URL": self.addresses.broker_url,
            "TRIMTAB_DATA_DIR": str(self.directory),
        }
        return Child(name, argv, environment, self.logs / f"{name}.log")

    def _write_pids(self) -> None:
        """Who is who, for operators and for tests that kill."""
        servers = {name: server.pid for name, server in self._servers.embedded.items()}
        pids = {"up": os.getpid(), **servers, **self._supervisor.pids}
        draft = self.directory / f"{PROCESSES_FILE}.new"
        draft.write_text(json.dumps(pids), encoding="utf-8")
        draft.replace(self.directory / PROCESSES_FILE)

    def _forget_earlier_life(self) -> None:
        """Signs of life outlast a crash by half a minute; on a server of our own they are all of an earlier run."""
        if "data" in self._servers.embedded:
            with connect(self.addresses.redis_url) as client:
                for role in COMMANDS:
                    health.withdraw(client, role, health.ANY)

    def _await_life(self) -> None:
        """Wait until every role has shown a sign of life."""
        waiting, deadline = list(COMMANDS), time.monotonic() + READY_SECONDS
        with connect(self.addresses.redis_url) as client:
            while waiting := [role for role in waiting if not health.alive(client, role)]:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{', '.join(waiting)} did not come up within {READY_SECONDS:g} s; see the logs in {self.logs}."
                    )
                self.watch()
                time.sleep(0.05)


class _Servers(Protocol):
    """Where data server and broker are, and which of them we run."""

    @property
    def addresses(self) -> Addresses: ...

    @property
    def embedded(self) -> Mapping[str, EmbeddedServer]: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


class _Embedded(EmbeddedServers):
    """Both are ours."""

    @property
    def embedded(self) -> Mapping[str, EmbeddedServer]:
        return {"data": self.data, "broker": self.broker}


class _External:
    """The data server is somebody else's; the broker is ours unless it is named too."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        named = resolve_addresses(settings)
        self._redis_url = named.redis_url
        self._broker_url = named.broker_url if settings.broker_url else None
        broker = EmbeddedServer(directory / "broker", maxmemory_bytes=BROKER_MAXMEMORY_BYTES)
        self.embedded: Mapping[str, EmbeddedServer] = {} if self._broker_url else {"broker": broker}

    @property
    def addresses(self) -> Addresses:
        return Addresses(self._redis_url, self._broker_url or self.embedded["broker"].url)

    def start(self) -> None:
        for server in self.embedded.values():
            server.start()

    def stop(self) -> None:
        for server in self.embedded.values():
            server.stop()


def _servers(settings: Settings, directory: Path, port: int) -> _Servers:
    if settings.redis_url is None:
        return _Embedded(directory, port=port)
    if port:
        raise InvalidInput("--port is for the embedded data server, and REDIS_URL names another; give only one.")
    return _External(settings, directory)
