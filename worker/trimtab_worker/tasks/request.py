"""A message on its way through a worker, which tells the worker when the broker is gone."""

from __future__ import annotations

from celery.utils.log import get_logger
from celery.worker import request

log = get_logger(__name__)


class Request(request.Request):  # type: ignore[misc]  # celery ships no types
    """Celery's, but for an acknowledgement that fails: that ends the connection.

    Celery logs it and goes on, and the message counts as being worked on for ever: with a prefetch of one the worker
    never asks the broker for another, so it never finds out that its connection is dead. Raised, the error makes it
    connect again.
    """

    acknowledged: bool

    def acknowledge(self) -> None:
        if not self.acknowledged:
            self._on_ack(log, ())
            self.acknowledged = True
