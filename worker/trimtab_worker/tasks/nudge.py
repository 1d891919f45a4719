"""What all tasks have in common: they are nudges, so losing, repeating or failing one must cost nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import structlog
from celery import current_app, shared_task
from kombu.exceptions import OperationalError

from trimtab.adapters.redis.connection import UNREACHABLE
from trimtab.errors import TrimtabError, Unavailable

P = ParamSpec("P")
log = structlog.get_logger(__name__)

INGEST, DECIDE, ANALYSE = "ingest", "decide", "analyse"
REQUEST = "trimtab_worker.tasks.request:Request"


def task(name: str, *, bind: bool = False) -> Callable[[Callable[P, None]], Any]:
    """Make a function a Celery task `trimtab.<name>`; errors raised on purpose become one log line, no traceback.

    There is no retry: beat sends the next nudge anyway, and a retry would come on top of it.
    """

    def decorate(run: Callable[P, None]) -> Any:
        @functools.wraps(run)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            with structlog.contextvars.bound_contextvars(task=f"trimtab.{name}"):
                try:
                    run(*args, **kwargs)
                except TrimtabError as error:
                    log.error("task_refused", code=error.code, reason=str(error))
                except UNREACHABLE as error:
                    log.error("task_refused", code=Unavailable.code, reason=str(error))

        return shared_task(guarded, name=f"trimtab.{name}", bind=bind, ignore_result=True, Request=REQUEST)

    return decorate


def send(name: str, *args: Any, expires: float) -> bool:
    """Send a nudge that evaporates after `expires` seconds; False, and a log line, if the broker does not take it."""
    try:
        current_app.send_task(f"trimtab.{name}", args=args, expires=expires)
    except (OperationalError, OSError) as error:
        log.warning("nudge_not_sent", nudge=name, reason=str(error), remedy="beat sends the next one")
        return False
    return True
