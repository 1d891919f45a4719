"""What inference refuses, each with the field and the value at fault."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from trimtab.errors import InvalidInput


def check_finite(field: str, value: Any, *, variant: str | None = None) -> float:
    """`value` as a float.

    Raises:
        InvalidInput: it is not a finite number.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise _refused(field, value, "not a finite number", variant)
    return float(value)


def check_positive(field: str, value: Any, *, variant: str | None = None) -> float:
    """`value` as a float.

    Raises:
        InvalidInput: it is not a finite number above 0.
    """
    if check_finite(field, value, variant=variant) <= 0:
        raise _refused(field, value, "not above 0", variant)
    return float(value)


def check_not_negative(field: str, value: Any, *, variant: str | None = None) -> float:
    """`value` as a float.

    Raises:
        InvalidInput: it is not a finite number ≥ 0.
    """
    if check_finite(field, value, variant=variant) < 0:
        raise _refused(field, value, "below 0", variant)
    return float(value)


def check_share(field: str, value: Any, *, variant: str | None = None) -> float:
    """`value` as a float.

    Raises:
        InvalidInput: it is not strictly between 0 and 1.
    """
    if not 0 < check_finite(field, value, variant=variant) < 1:
        raise _refused(field, value, "not strictly between 0 and 1", variant)
    return float(value)


def check_count(field: str, value: Any, *, least: int = 0, variant: str | None = None) -> int:
    """`value` as an int.

    Raises:
        InvalidInput: it is not a whole number ≥ `least`.
    """
    number = check_finite(field, value, variant=variant)
    if number != int(number) or number < least:
        raise _refused(field, value, f"not a whole number ≥ {least}", variant)
    return int(number)


def _refused(field: str, value: Any, why: str, variant: str | None) -> InvalidInput:
    of = f" of variant {variant!r}" if variant is not None else ""
    return InvalidInput(f"{field}{of} is {value!r}, {why}.", field=field, variant=variant, value=value)
