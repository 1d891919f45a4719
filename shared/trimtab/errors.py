"""What can go wrong, as a small tree: each class tells the caller what to do next.

::

    TrimtabError                 every error this package raises on purpose
    ├── InvalidInput             fix the value named in the message        (also a ValueError)
    │   └── ConfigurationError   fix the experiment or constraint named    (also a ValueError)
    ├── NotFound                 create it, or correct the name
    ├── IllegalTransition        the experiment is not in a state that allows this
    ├── Conflict                 somebody else published first: read again, then retry
    ├── Unavailable              the data server cannot be reached: start it or correct the address
    ├── BufferFull               the publisher's buffer is full: slow down, or wait longer
    ├── PublishFailed            events could not be delivered: they are counted, send them again
    ├── LogGap                   entries vanished unread from the log: an operator must look
    ├── CorruptState             the folded state cannot be trusted: rebuild it from the log
    └── MissingExtra             install the extra named in the message
"""

from __future__ import annotations

import importlib
from enum import StrEnum
from types import ModuleType
from typing import Any, ClassVar

from pydantic import ValidationError


class ErrorCode(StrEnum):
    """The closed set of codes that `TrimtabError.code` takes."""

    INVALID_INPUT = "invalid_input"
    CONFIGURATION = "configuration"
    NOT_FOUND = "not_found"
    ILLEGAL_TRANSITION = "illegal_transition"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    BUFFER_FULL = "buffer_full"
    PUBLISH_FAILED = "publish_failed"
    LOG_GAP = "log_gap"
    CORRUPT_STATE = "corrupt_state"
    MISSING_EXTRA = "missing_extra"


class TrimtabError(Exception):
    """Base of every error raised on purpose; `str()` is one sentence, `code` is closed."""

    code: ClassVar[ErrorCode]


class InvalidInput(TrimtabError, ValueError):
    """A value a caller handed over cannot be used; the message names where it stood."""

    code = ErrorCode.INVALID_INPUT

    def __init__(
        self, message: str, *, field: str | None = None, variant: str | None = None, value: Any = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.variant = variant
        self.value = value


class ConfigurationError(InvalidInput):
    """An experiment or its constraints contradict themselves."""

    code = ErrorCode.CONFIGURATION


class NotFound(TrimtabError):
    """The experiment, decision or log asked for does not exist."""

    code = ErrorCode.NOT_FOUND


class IllegalTransition(TrimtabError):
    """The experiment's status does not allow what was asked."""

    code = ErrorCode.ILLEGAL_TRANSITION


class Conflict(TrimtabError):
    """The published revision is no longer the one this write was computed from."""

    code = ErrorCode.CONFLICT


class Unavailable(TrimtabError):
    """The data server does not answer."""

    code = ErrorCode.UNAVAILABLE


class BufferFull(TrimtabError):
    """The publisher holds as many unconfirmed events as it may."""

    code = ErrorCode.BUFFER_FULL


class PublishFailed(TrimtabError):
    """Events could not be confirmed before the deadline; none of them is silently lost."""

    code = ErrorCode.PUBLISH_FAILED


class LogGap(TrimtabError):
    """Entries the fold had not read are gone from the log."""

    code = ErrorCode.LOG_GAP


class CorruptState(TrimtabError):
    """A stored value is not what the fold writes."""

    code = ErrorCode.CORRUPT_STATE


class MissingExtra(TrimtabError, ImportError):
    """A part of the package needs an optional dependency that is not installed."""

    code = ErrorCode.MISSING_EXTRA


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say in one sentence which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is not installed; it comes with an extra: pip install 'trimtab[{extra}]'."
        ) from error


def as_configuration_error(error: ValidationError, *, subject: str) -> ConfigurationError:
    """Pydantic's report as one sentence that names the field; the first problem speaks for the rest."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ").rstrip(".")
    more = error.error_count() - 1
    rest = f" ({more} more problem{'s' if more > 1 else ''} after it)" if more else ""
    value = problem.get("input")
    place = f"{subject}: {field}" if field else subject
    return ConfigurationError(f"{place}: {text}{rest}.", field=field or None, value=value)
