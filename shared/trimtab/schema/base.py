"""What every schema shares: frozen models, the parts-per-million unit, canonical JSON."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

PARTS = 1_000_000
"""Published weights are integers per million: fine enough for a .0001 % step, exact to add up."""

SCHEMA_VERSION: Literal[1] = 1
"""The version `v` that this code writes; readers refuse any other until an upcaster exists."""


class Schema(BaseModel):
    """Base of everything that crosses a process border: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical_json(document: Any) -> bytes:
    """JSON with sorted keys, no blanks and plain UTF-8: the bytes any language can reproduce and digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
