"""Identifiers: their grammar, how they are made, and the hashes that everything else relies on.

Ids become parts of Redis keys, so the grammar admits no brace, colon, space, glob or control character.
"""

from __future__ import annotations

import secrets
from typing import Annotated

import mmh3
from pydantic import StringConstraints

SLUG_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
VARIANT_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
# Event and unit ids are opaque to us and never enter a key; 256 characters hold any UUID, ULID or e-mail hash.
OPAQUE_MAX_LENGTH = 256

ExperimentId = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
MetricName = Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
VariantId = Annotated[str, StringConstraints(pattern=VARIANT_PATTERN)]
OpaqueId = Annotated[str, StringConstraints(min_length=1, max_length=OPAQUE_MAX_LENGTH)]


def new_salt() -> str:
    """A random salt for one experiment's bucketing; 64 bits keep experiments independent of each other."""
    return secrets.token_hex(8)


def new_producer_id() -> str:
    """A fresh identity for one publisher process; a restart takes a new one."""
    return secrets.token_hex(8)


def new_incarnation() -> str:
    """A random name for one life of a key, renewed when data are flushed or restored."""
    return secrets.token_hex(6)


def partition_of(experiment_id: str, partitions: int) -> int:
    """The partition, 0 … `partitions` − 1, that an experiment's events live in for ever."""
    return mmh3.hash(experiment_id.encode(), 0, signed=False) % partitions
