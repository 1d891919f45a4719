"""What a power loss leaves: append-only files that end anywhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trimtab_worker.embedded import EmbeddedServer


def increment(server: EmbeddedServer) -> Path:
    """The file that a server appends its writes to."""
    (found,) = (server.directory / "appendonlydir").glob("*.incr.aof")
    return found


def copy_of(server: EmbeddedServer, directory: Path, *, length: int | None = None) -> EmbeddedServer:
    """Another server on a copy of what `server` has on disk, cut to its first `length` bytes; not started."""
    shutil.copytree(server.directory / "appendonlydir", directory / "appendonlydir")
    other = EmbeddedServer(directory, maxmemory_bytes=0)
    if length is not None:
        os.truncate(increment(other), length)
    return other
