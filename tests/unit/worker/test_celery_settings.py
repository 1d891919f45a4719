"""RC-10: the Celery settings that the promises of RELIABILITY §1 rest on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from faults.reporting import Check
from trimtab.settings import Periods, Settings
from trimtab_worker.app import celery_settings, check_visibility, install
from trimtab_worker.tasks.ingest import park_seconds
from trimtab_worker.tasks.schedule import beat_schedule


@pytest.fixture
def conf() -> dict[str, Any]:
    return celery_settings(Settings.load(redis_url="redis://data:6379/0", broker_url="redis://broker:6379/0"))


EXPECTED = {
    "broker_url": "redis://broker:6379/0",
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
    "result_backend": None,
    "task_ignore_result": True,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_soft_time_limit": 20,
    "task_time_limit": 30,
    "worker_prefetch_multiplier": 1,
    "worker_max_tasks_per_child": 1000,
    "worker_soft_shutdown_timeout": 15,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_enable_remote_control": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_pool_acquire_timeout": 5,
}
TRANSPORT = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 10,
    "socket_timeout": 3,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "global_keyprefix": "cel:",
    "queue_order_strategy": "priority",
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_each_setting_is_the_one_that_was_measured(name: str, conf: dict[str, Any]) -> None:
    assert conf[name] == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(TRANSPORT))
def test_each_transport_option_is_the_one_that_was_measured(name: str, conf: dict[str, Any]) -> None:
    assert conf["broker_transport_options"][name] == TRANSPORT[name]


def test_messages_are_delivered_again_soon_and_never_too_soon(conf: dict[str, Any], check: Check) -> None:
    options = conf["broker_transport_options"]
    visible, limit, accepted = options["visibility_timeout"], conf["task_time_limit"], conf["accept_content"]
    throttle, mutex = options["unacked_restore_throttle"], options["unacked_mutex_expire"]
    check("RC-10", "visibility ≥ 4 time limits, throttle 1, mutex ≤ 10 s, json only",
          f"{visible} s for limits of {limit} s, {throttle}, {mutex} s, {', '.join(accepted)}",
          visible >= 4 * limit and throttle == 1 and mutex <= 10 and accepted == ["json"])  # fmt: skip


def test_a_message_is_not_redelivered_while_it_may_still_run(conf: dict[str, Any]) -> None:
    app = Celery("test")
    app.conf.update(conf)
    check_visibility(app.conf)
    app.conf.task_time_limit = 31
    with pytest.raises(SystemExit, match="visibility timeout"):
        check_visibility(app.conf)


def test_every_setting_is_one_celery_knows(conf: dict[str, Any]) -> None:
    from celery.app.defaults import SETTING_KEYS

    assert set(conf) <= set(SETTING_KEYS)


def test_every_nudge_of_beat_evaporates_within_its_period(conf: dict[str, Any]) -> None:
    for entry in conf["beat_schedule"].values():
        assert entry["options"]["expires"] == entry["schedule"]


def test_beat_revives_every_partition() -> None:
    schedule = beat_schedule(Periods(), partitions=3)
    drains = [entry["args"] for entry in schedule.values() if entry["task"] == "trimtab.drain"]
    assert drains == [(0,), (1,), (2,)]


def test_queues_share_neither_exchange_nor_key(conf: dict[str, Any]) -> None:
    queues = conf["task_queues"]
    assert {queue.name for queue in queues} == {"ingest", "decide", "analyse"}
    assert len({(queue.exchange.name, queue.routing_key) for queue in queues}) == len(queues)


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("trimtab.drain", "ingest"),
        ("trimtab.maintain", "ingest"),
        ("trimtab.tick", "decide"),
        ("trimtab.recompute", "decide"),
        ("trimtab.heartbeat", "decide"),
        ("trimtab.hold", "decide"),
        ("trimtab.analyse.forest", "analyse"),
    ],
)
def test_a_flood_of_events_cannot_starve_decisions(task: str, queue: str, conf: dict[str, Any]) -> None:
    app = Celery("test")
    app.conf.update(conf)
    assert app.amqp.router.route({}, task)["queue"].name == queue


def test_every_task_documented_exists_and_ignores_its_result() -> None:
    script = (
        "from trimtab_worker.app import app\n"
        "app.loader.import_default_modules()\n"
        "names = sorted(n for n in app.tasks if n.startswith('trimtab.'))\n"
        "assert all(app.tasks[n].ignore_result for n in names)\n"
        "print(*names)"
    )
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        f"trimtab.{name}"
        for name in (
            *("conclude", "drain", "halt", "heartbeat", "hold", "maintain"),
            *("recompute", "resume", "start", "stop", "tick"),
        )
    ]


def test_an_application_of_somebody_else_takes_our_tasks_in() -> None:
    theirs = Celery("theirs", broker="memory://")
    theirs.conf.task_routes = {"mine.*": {"queue": "mine"}}
    theirs.conf.beat_schedule = {"mine": {"task": "mine.do", "schedule": 1}}
    install(theirs, Settings.load(partitions=2))
    assert theirs.conf.task_routes["mine.*"] == {"queue": "mine"}
    assert theirs.conf.task_routes["trimtab.drain"] == {"queue": "ingest"}
    assert {"mine", "tick", "revive-0", "revive-1"} <= set(theirs.conf.beat_schedule)
    theirs.loader.import_default_modules()
    theirs.finalize()
    assert "trimtab.drain" in theirs.tasks


def test_one_worker_comes_by_every_partition_within_the_parking_time() -> None:
    assert park_seconds(10, 1) == 10
    assert park_seconds(10, 8) * 8 == 10
    assert park_seconds(10, 1000) == 0.2
    assert park_seconds(0, 4) == 0
