"""Workers and beat as real processes over two servers, started by the very commands of docker-compose.yml."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis
import yaml
from celery import Celery

from servers import plain_client, start_server, wait_until
from trimtab import Publisher
from trimtab.client.control import Control
from trimtab.clock import system_clock
from trimtab.settings import Settings
from trimtab_worker import health
from trimtab_worker.app import celery_settings
from trimtab_worker.bootstrap import Services
from trimtab_worker.embedded import EmbeddedServer

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
APP = "trimtab_worker.app"
READY_SECONDS = 60.0  # two shared cores may import numpy and scipy three times at once
STOP_SECONDS = 20.0  # RC-12
HEARTBEAT_SECONDS = 1.0
# Production's periods, shortened, so that a test sees several of each.
FAST = {
    "TRIMTAB_DRAIN_PARK_SECONDS": "1",
    "TRIMTAB_PERIODS__TICK_SECONDS": "0.5",
    "TRIMTAB_PERIODS__REVIVE_SECONDS": "2",
    "TRIMTAB_PERIODS__HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
}


class Fleet:
    """Two servers and the processes started on them, with `FAST` and `environment`; all are gone when it is closed."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        self._environment = FAST | environment
        self._stack = ExitStack()
        self.data = self._server("data")
        self.broker = self._server("broker")
        # Where its processes look for them: a test may put something between.
        self.redis_url, self.broker_url = self.data.url, self.broker.url
        self.settings = Settings.load(redis_url=self.data.url, broker_url=self.broker.url)
        self.client: redis.Redis = self._stack.enter_context(plain_client(self.data.url))
        self.services = Services(self.settings)
        self._stack.callback(self.services.close)
        self.control = self.services.control("tester")
        self.sender = self._stack.enter_context(Celery("sender", set_as_current=False))
        self.sender.conf.update(celery_settings(self.settings))

    def start(self, *roles: str) -> dict[str, subprocess.Popen[bytes]]:
        """Start roles by their commands in docker-compose.yml and wait until they show signs of life."""
        processes = {role: self.launch(role) for role in roles}
        for role in roles:
            wait_until(
                lambda role=role: health.alive(self.client, role), READY_SECONDS, what=f"a sign of life of {role}"
            )
        return processes

    def launch(self, role: str, *more: str, app: str = APP) -> subprocess.Popen[bytes]:
        """Start a role by its command in docker-compose.yml, and `more`; `app` may be another of the tests' own."""
        program, *arguments = (app if part == APP else part for part in (*COMPOSE[role]["command"], *more))
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT / "tests"),
            "HOME": str(self.directory),
            "REDIS_URL": self.redis_url,
            "BROKER_URL": self.broker_url,
            **self._environment,
        }
        with self.log(role).open("ab") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name(program), *arguments],
                env=environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._stack.callback(end, process)
        return process

    def log(self, role: str) -> Path:
        return self.directory / f"{role}.log"

    def create(self, name: str, **definition: Any) -> Control:
        """A running experiment that is decided on every second."""
        self.control.create(
            {
                "id": name,
                "variants": [{"id": "a"}, {"id": "b"}],
                "metrics": [{"name": "bought", "kind": "binary", "primary": True}],
                "recompute_seconds": 1,
                **definition,
            }
        )
        self.control.start(name)
        return self.control

    def publish(self, name: str, count: int) -> None:
        """Outcomes of new units, half of them for each variant, confirmed by the log."""
        with Publisher(self.data.url) as publisher:
            for number in range(count):
                publisher.publish(
                    experiment_id=name,
                    variant="ab"[number % 2],
                    unit_id=uuid.uuid4().hex,
                    metrics={"bought": int(number % 3 == 0)},
                    occurred_at=system_clock(),
                    epoch=1,
                )

    def folded(self) -> int:
        return self.services.partition(0).load().counters["folded"]

    def decides_on(self, name: str, seconds: float = 15) -> bool:
        """Whether a decision is published within `seconds`."""
        before = self.control.show(name).revision
        return wait_until(lambda: self.control.show(name).revision > before, seconds, what=f"a decision on {name}")

    def close(self) -> None:
        self._stack.close()

    def _server(self, name: str) -> EmbeddedServer:
        return self._stack.enter_context(start_server(self.directory / name))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all it has started."""
    if process.poll() is None or process.returncode < 0:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
