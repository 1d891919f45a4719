"""What every schema shares: frozen models, the parts-per-million unit, canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def expand_preset(data: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """`"name"` or `{"preset": "name", …}` as the preset's fields with those given beside it; anything else as it is.

    Raises:
        ValueError: there is no such preset; the message lists those there are.
    """
    if isinstance(data, str):
        data = {"preset": data}
    if not isinstance(data, dict) or "preset" not in data:
        return data
    name = data["preset"]
    if name not in presets:
        raise ValueError(f"unknown preset {name!r}; choose one of {', '.join(sorted(presets))}")
    return {**presets[name], **{key: value for key, value in data.items() if key != "preset"}}
