"""What a worker does beside its tasks: look at its servers before it starts, and show that it lives."""

from __future__ import annotations

from typing import Any

import structlog
from celery import bootsteps

from trimtab.errors import TrimtabError
from trimtab.settings import Settings
from trimtab_worker import health
from trimtab_worker.services.doctor import server_checks

log = structlog.get_logger(__name__)


def check_servers(settings: Settings) -> None:
    """Refuse to start on a server that would lie; warn of one that may forget, or that cannot be asked.

    A server that does not answer yet is no reason to give up: nudges wait, and so does the log.
    """
    try:
        with health.quick_client(settings) as client:
            findings = [finding for finding in server_checks(client) if not finding.ok]
    except TrimtabError as error:
        log.warning("server_not_checked", reason=str(error))
        return
    for finding in findings:
        if finding.fatal:
            raise SystemExit(f"The worker does not start: {finding.found} {finding.remedy}")
        log.warning("server_unsafe", check=finding.name, found=finding.found, remedy=finding.remedy)


class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Renews one key per queue from the worker's event loop: stuck, or cut off its broker, it falls silent."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._timer: Any = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        settings = Settings.load()
        self._period = settings.periods.heartbeat_seconds
        self._name = consumer.hostname
        self._roles = sorted(set(consumer.app.amqp.queues.consume_from) & set(health.ROLES))
        self._client = health.quick_client(settings)
        self._beat()
        self._timer = consumer.timer.call_repeatedly(self._period, self._beat)

    def stop(self, consumer: Any) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._try(health.withdraw)
        self._client.close()

    shutdown = stop

    def _beat(self) -> None:
        self._try(lambda client, role, name: health.report(client, role, name, self._period))

    def _try(self, act: Any) -> None:
        try:
            for role in self._roles:
                act(self._client, role, f"{role}@{self._name.partition('@')[2]}")
        except TrimtabError as error:
            log.warning("heartbeat_not_written", reason=str(error))
