"""What goes into the fold and what comes out of it, as plain data that any store can apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.schema.dead_letter import DeadLetter

IdArray = NDArray[np.int64]

LOG_START = "0-0"
LOG_FULL = f"{2**64 - 1}-{2**64 - 1}"
"""The largest id: whoever writes an entry under it, which any writer may, has used up the stream."""


class Entry(NamedTuple):
    """One entry of the log: its id `<ms>-<n>` and its fields as bytes."""

    id: str
    fields: Mapping[bytes, bytes]

    @property
    def milliseconds(self) -> int:
        return int(self.id.partition("-")[0])


def size_of(entries: Iterable[Entry]) -> int:
    """Bytes of these entries' values."""
    return sum(map(len, chain.from_iterable([entry.fields.values() for entry in entries])))


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the fold stands in one life (`run`) of a partition's state."""

    run: str = ""
    id: str = LOG_START


@dataclass(slots=True)
class Commit:
    """One atomic step of a partition's state, valid only while its cursor is `expected`.

    Everything is absolute, so that a store only overwrites: `partition` the fields of the `cur` hash (among them the
    new `id`), `experiments` the changed fields of each `stats` hash, `removed` fields that a compaction ended.
    """

    expected: Cursor
    partition: dict[str, str]
    experiments: dict[str, dict[str, str]] = field(default_factory=dict)
    removed: dict[str, list[str]] = field(default_factory=dict)
    producers: dict[str, str] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    marks: dict[str, IdArray] = field(default_factory=dict)
    new_marks: dict[str, IdArray] = field(default_factory=dict)  # the same by scope, for whoever remembers them
    scopes: dict[str, str] = field(default_factory=dict)
    expired_scopes: list[str] = field(default_factory=list)
    expired_buckets: list[str] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)

    @property
    def cursor(self) -> Cursor:
        """The cursor once this commit is applied."""
        return Cursor(self.expected.run, self.partition["id"])
