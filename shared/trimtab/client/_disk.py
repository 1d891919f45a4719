"""Copies of allocations on the disk: what a process serves that starts while the server is down.

One file per experiment: a line with the SHA-256 of the rest, then one JSON document. Written aside and renamed, so that
a reader finds a whole copy or none; not flushed to the disk first: a power cut may cost the copy, which then counts as
damaged.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from trimtab.clock import Instant
from trimtab.schema.allocation import Allocation
from trimtab.schema.base import SCHEMA_VERSION, Schema


class Copy(Schema):
    """An allocation, and when it was saved by two clocks, so that the time since then can be told without a server."""

    v: Literal[1] = SCHEMA_VERSION
    saved_at: Annotated[Instant, Field(description="By this machine's clock.")]
    server_at: Annotated[Instant, Field(description="By the server's clock.")]
    allocation: Allocation

    def server_ms(self, now: int) -> int:
        """What the server's clock shows when this machine's shows `now`; a clock set back counts as no time."""
        return self.server_at + max(0, now - self.saved_at)


class DiskCache:
    """The copies in one directory, which is created if need be, for this user alone."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory).expanduser()

    def load(self, experiment_id: str) -> Copy | None:
        """The copy of an experiment; None where there is none.

        Raises:
            ValueError: the file is not a whole copy of this experiment.
            OSError: it cannot be read.
        """
        try:
            digest, _, document = self._path(experiment_id).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if digest.decode("ascii", "replace") != sha256(document).hexdigest():
            raise ValueError("the digest does not match")
        try:
            copy = Copy.model_validate_json(document)
        except ValidationError as error:
            raise ValueError("the document is no copy") from error
        if copy.allocation.experiment_id != experiment_id:
            raise ValueError("the copy is another experiment's")
        return copy

    def save(self, copy: Copy) -> None:
        """Replace the copy of an experiment.

        Raises:
            OSError: it cannot be written; the copy before it stays.
        """
        document = copy.model_dump_json().encode()
        path = self._path(copy.allocation.experiment_id)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(sha256(document).hexdigest().encode() + b"\n" + document)
            draft.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise

    def _path(self, experiment_id: str) -> Path:
        return self.directory / f"{experiment_id}.allocation"  # ids hold nothing that leads elsewhere
