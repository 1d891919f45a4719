"""The Celery app, watched: counts in the data server what it runs, and begins no task whose name `STALLED` holds there.

It may be given a short visibility timeout. A worker started with it is the real one in everything else; its own look at
its settings comes before they change.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import signals

from trimtab_worker import bootstrap
from trimtab_worker.app import app as app

RUNS, REDELIVERED = "test:runs", "test:redelivered"  # hashes: how often, by task
STALLED = "test:stalled"
SHORT = "VISIBILITY_SECONDS"


def _shorten(**_: Any) -> None:
    if seconds := os.environ.get(SHORT):
        short = {"visibility_timeout": float(seconds), "unacked_restore_interval": float(seconds) / 2}
        app.conf.broker_transport_options = {**app.conf.broker_transport_options, **short}


def _begin(task: Any, **_: Any) -> None:
    client = bootstrap.current().client
    client.hincrby(RUNS, task.name, 1)
    if task.request.delivery_info.get("redelivered"):
        client.hincrby(REDELIVERED, task.name, 1)
    while client.get(STALLED) == task.name.encode():
        time.sleep(0.01)


signals.worker_init.connect(_shorten)
signals.task_prerun.connect(_begin)
