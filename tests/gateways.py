"""A gateway for tests: the real application under uvicorn, on a thread of its own, and what people publish to it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
import requests
import uvicorn

from client_allocations import allocation
from e2e.conftest import CLI, clean_environment
from servers import wait_until
from trimtab.layout import largest_remainder, relayout
from trimtab.schema.allocation import Allocation
from trimtab.schema.keys import EXPERIMENTS, LOG, ExperimentKeys
from trimtab.settings import Settings
from trimtab_worker.bootstrap import Services
from trimtab_worker.gateway.app import build
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.heads import BoundedHead

SECONDS = 30.0


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that answers at `url`."""

    url: str
    desk: Desk

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=SECONDS, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=SECONDS, **options)

    def weights(self, tag: str | None = None, experiment: str = "checkout", **options: Any) -> requests.Response:
        headers = {"If-None-Match": tag} if tag else {}
        return self.get(f"/v1/weights/{experiment}", headers=headers, **options)

    def evaluate(self, unit_id: str, experiment: str = "checkout") -> dict[str, Any]:
        answer = self.post(f"/ofrep/v1/evaluate/flags/{experiment}", json={"context": {"targetingKey": unit_id}})
        return dict(answer.json())

    def revision(self, experiment: str = "checkout") -> int | None:
        """The revision served; None for nothing."""
        answer = self.weights(experiment=experiment)
        return answer.json()["revision"] if answer.status_code == 200 else None


@contextmanager
def running_gateway(
    redis_url: str, *, change: Callable[[Desk], None] | None = None, **settings: Any
) -> Iterator[RunningGateway]:
    """A gateway over that data server; `settings` are those of the group `gateway`, `change` alters its parts."""
    services = Services(Settings.load(redis_url=redis_url, gateway=settings))
    app, desk = build(services)
    if change:
        change(desk)
    config = uvicorn.Config(
        app, http=BoundedHead, port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), SECONDS, what="the gateway")
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        yield RunningGateway(f"http://127.0.0.1:{port}", desk)
    finally:
        desk.board.release()
        server.should_exit = True
        thread.join(SECONDS)
        services.close()
        assert not thread.is_alive(), "the gateway did not end"


@contextmanager
def serving(redis_url: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`trimtab serve` as a process of its own, and the address that it prints."""
    process = subprocess.Popen(
        [*CLI, "serve", "--port", "0"],
        env=clean_environment() | {"REDIS_URL": redis_url} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Listening on http://127.0.0.1:"), process.communicate()
        yield process, line.split()[-1]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def publish(client: redis.Redis, document: Allocation | bytes, *, notify: bool = True) -> None:
    """Write the polled key as the service does; without `notify` as if the notice were lost."""
    raw = document.model_dump_json().encode() if isinstance(document, Allocation) else document
    name = document.experiment_id if isinstance(document, Allocation) else "checkout"
    client.hsetnx(LOG, "partitions", 1)
    client.set(ExperimentKeys(name).weights, raw)
    client.sadd(EXPERIMENTS, name)
    if notify:
        client.publish(ExperimentKeys(name).notices, "1")


def successor(before: Allocation, shares: Mapping[str, float]) -> Allocation:
    """The next revision and epoch, with the fewest units moved."""
    parts = largest_remainder(shares)
    return allocation(
        before.revision + 1, shares, epoch=before.epoch + 1, incarnation=before.incarnation, salt=before.salt,
        weights=parts, ranges=relayout(before.ranges, parts),
    )  # fmt: skip
