"""The Lua scripts, one verb each, loaded once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def source(verb: str) -> str:
    """The text of the script `lua/<verb>.lua`."""
    return (files("trimtab.adapters.redis") / "lua" / f"{verb}.lua").read_text()
