"""Logging: one renderer for our own records and everybody else's, with context bound and secrets removed.

JSON lines, unless a terminal reads along. Nothing here imports structlog before it is used: `import trimtab` stays
light.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TextIO

from trimtab.errors import require

if TYPE_CHECKING:
    import structlog

LogFormat = Literal["auto", "json", "console"]

HIDDEN = "***"
# Whatever stands between `//` and the last `@` before the next blank or slash is a login.
_LOGIN = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/'\"]*@")
_SECRET_KEY = re.compile(r"passw(or)?d|secret|token|api_?key|credential|authorization|hmac|private_key", re.IGNORECASE)
_SIGNING_KEY = re.compile(r"(?<![a-z0-9_-])(?P<id>[a-z0-9][a-z0-9_-]{0,63}):[0-9a-f]{64}(?![0-9a-f])")
_hidden: set[str] = set()  # texts that nothing gives away as secrets but that they are in our settings
MAX_DEPTH = 8  # the depth that events may have; what lies deeper is cut, not searched


def configure(*, log_format: LogFormat = "auto", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all records of this process, also those of Celery and other libraries, to `stream` (default: stderr)."""
    structlog = _structlog()
    out = stream or sys.stderr
    readable = log_format == "console" or (log_format == "auto" and out.isatty())
    renderer = structlog.dev.ConsoleRenderer(colors=out.isatty()) if readable else structlog.processors.JSONRenderer()
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
        redact_event,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            # Once more at the end: a foreign record's message is formatted only on the way here.
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event, renderer],
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that a process which configures late, after imports, is heard as well
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)


def hide(secrets: Iterable[str]) -> None:
    """From now on no record of this process holds any of these texts, wherever it may turn up."""
    _hidden.update(secret for secret in secrets if secret)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose calls are `log.info("event_name", key=value, …)`."""
    logger: structlog.stdlib.BoundLogger = _structlog().get_logger(name)
    return logger


def bound(**context: Any) -> AbstractContextManager[None]:
    """Bind `experiment`, `partition`, `decision` and the like to every record inside the block."""
    manager: AbstractContextManager[None] = _structlog().contextvars.bound_contextvars(**context)
    return manager


def redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: no login in any URL, no value under a name that sounds like a secret."""
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = HIDDEN if _SECRET_KEY.search(key) else redact(value)
    return event


def redact(value: Any, depth: int = 0) -> Any:
    """`value` without secrets: text, mappings, sequences and exceptions are searched, other values returned as is."""
    match value:
        case str():
            value = _SIGNING_KEY.sub(rf"\g<id>:{HIDDEN}", _LOGIN.sub(rf"\g<scheme>{HIDDEN}@", value))
            for secret in _hidden:
                value = value.replace(secret, HIDDEN)
            return value
        case bytes():
            return redact(value.decode(errors="replace"))
        case _ if depth >= MAX_DEPTH:
            return "…"
        case Mapping():
            return {
                key: HIDDEN if _SECRET_KEY.search(str(key)) else redact(inner, depth + 1)
                for key, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(inner, depth + 1) for inner in value]
        case BaseException():
            return redact(f"{type(value).__name__}: {value}")
    return value


def _structlog() -> Any:
    return require("structlog", extra="worker")
