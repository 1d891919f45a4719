"""Where the servers are: `REDIS_URL` first, else the file that `trimtab up` leaves in its data directory.

Needs nothing but the standard library, so that a client without extras finds a local service by itself.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import Unavailable

DEFAULT_DATA_DIR = Path("~/.trimtab")
FILE_NAME = "addresses.json"


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs of the data server and of the broker."""

    redis_url: str
    broker_url: str


@dataclass(frozen=True, slots=True)
class LocalServers:
    """What the address file says: where two embedded servers listen, and which processes they are."""

    addresses: Addresses
    pids: tuple[int, ...]

    @property
    def alive(self) -> bool:
        """Whether every process named still exists; a file left by a killed `up` fails here."""
        return all(_exists(pid) for pid in self.pids)


def data_dir() -> Path:
    """`TRIMTAB_DATA_DIR`, or `~/.trimtab`."""
    return Path(os.environ.get("TRIMTAB_DATA_DIR") or DEFAULT_DATA_DIR).expanduser()


def write_file(directory: Path, servers: LocalServers) -> Path:
    """Leave the addresses for other processes of this user; in one rename, readable by nobody else."""
    path = directory / FILE_NAME
    draft = path.with_name(f"{FILE_NAME}.{os.getpid()}")
    document = {
        "redis_url": servers.addresses.redis_url,
        "broker_url": servers.addresses.broker_url,
        "pids": list(servers.pids),
    }
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file)
    draft.replace(path)
    return path


def read_file(directory: Path) -> LocalServers | None:
    """The servers a running `up` announces; None where there is no file, or one whose servers are gone."""
    try:
        document = json.loads((directory / FILE_NAME).read_bytes())
        addresses = Addresses(str(document["redis_url"]), str(document["broker_url"]))
        servers = LocalServers(addresses, tuple(int(pid) for pid in document["pids"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent or garbled: both mean that nobody announces a server here
    return servers if servers.alive else None


def remove_file(directory: Path, servers: LocalServers) -> None:
    """Take the announcement back, unless it is somebody else's by now."""
    if read_file(directory) in (servers, None):
        (directory / FILE_NAME).unlink(missing_ok=True)


def resolve(redis_url: str | None = None, broker_url: str | None = None, directory: Path | None = None) -> Addresses:
    """The addresses to use: those handed in, else the environment's, else a local `up`'s.

    A broker URL that is named nowhere is the data server's: `doctor` then says what that risks.

    Raises:
        Unavailable: nothing names a data server.
    """
    redis_url = redis_url or _named("REDIS_URL")
    broker_url = broker_url or _named("BROKER_URL")
    if redis_url:
        return Addresses(redis_url, broker_url or redis_url)
    servers = read_file(directory or data_dir())
    if servers is None:
        raise Unavailable(
            "No data server is known: start one with `trimtab up`, or set REDIS_URL to the address of yours."
        )
    return Addresses(servers.addresses.redis_url, broker_url or servers.addresses.broker_url)


def _named(name: str) -> str | None:
    """The environment's address; our own name wins, as it does in `settings`."""
    return os.environ.get(f"TRIMTAB_{name}") or os.environ.get(name)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it exists, and belongs to somebody else
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Whether the process has ended unreaped, which in a container without an init it stays for ever."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False  # no /proc here, or gone this instant: the next look will tell
    return status.rpartition(")")[2].split()[:1] == ["Z"]
