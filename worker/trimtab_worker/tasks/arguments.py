"""Arguments as they come from the broker: whoever can write to a queue can send anything, so all is checked again."""

from __future__ import annotations

import re

from trimtab.errors import InvalidInput
from trimtab.ids import OPAQUE_MAX_LENGTH, SLUG_PATTERN, VARIANT_PATTERN

MAX_REASON_LENGTH = 1000
COMMAND_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"


def experiment_id(value: object) -> str:
    return _matching(value, SLUG_PATTERN, "experiment id")


def variant_id(value: object) -> str:
    return _matching(value, VARIANT_PATTERN, "variant id")


def command_id(value: object) -> str:
    return _matching(value, COMMAND_PATTERN, "command id")


def reason_text(value: object) -> str:
    """A person's reason: printable text of at most `MAX_REASON_LENGTH` characters."""
    if not isinstance(value, str) or len(value) > MAX_REASON_LENGTH or not value.isprintable():
        raise InvalidInput(f"A reason is one line of text of at most {MAX_REASON_LENGTH} characters.")
    return value


def _matching(value: object, pattern: str, what: str) -> str:
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None or "\n" in value:
        shown = repr(value)[:OPAQUE_MAX_LENGTH]
        raise InvalidInput(f"{shown} is no {what}: it must match {pattern}.")
    return value
