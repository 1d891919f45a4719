"""The Celery app::

    celery -A trimtab_worker.app worker -Q ingest -c 1 --without-gossip --without-mingle -n ingest@%h
    celery -A trimtab_worker.app worker -Q decide -c 1 --without-gossip --without-mingle -n decide@%h
    celery -A trimtab_worker.app beat

Ingest and decide are worker processes of their own: in a shared one, parked drains starved every recompute. Importing
this module opens nothing and reads no settings; both happen when Celery first asks for its configuration.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, signals
from kombu.entity import Exchange, Queue

from trimtab import telemetry
from trimtab.settings import Settings, resolve_addresses
from trimtab_worker import bootstrap
from trimtab_worker.boot import Heartbeat, check_servers
from trimtab_worker.tasks import MODULES, QUEUES, ROUTES
from trimtab_worker.tasks.nudge import INGEST, send
from trimtab_worker.tasks.schedule import beat_schedule

SOFT_TIME_LIMIT_SECONDS = 20  # twice what a drain parks
TIME_LIMIT_SECONDS = 30  # the child is killed then; what it had not committed never happened
VISIBILITY_TIMEOUT_SECONDS = 4 * TIME_LIMIT_SECONDS  # waiting reserved, running, and as much again as margin
# In KiB: three times the 87 MiB that a child with all services loaded was measured to hold.
MAX_MEMORY_PER_CHILD_KIB = 300 * 1024

# They write several lines a nudge, which says nothing: what a nudge did, its service logs.
_CHATTY = ("celery.app.trace", "celery.beat", "celery.worker.request", "celery.worker.strategy")

TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,  # a shorter one delivers twice what is still running
    "unacked_restore_interval": 5,  # seconds between looks for messages of dead workers …
    "unacked_restore_throttle": 1,  # … at each look, not at every tenth
    "unacked_mutex_expire": 10,  # the default, 300, stalls redelivery for 5 minutes after a broker's hiccup
    # Above the second that kombu's blocking reads take. A connection that swallows bytes is tried three times: at 10 s,
    # one nudge held a drain until its time limit killed it.
    "socket_timeout": 3,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,  # a half-open connection is noticed,
    "health_check_interval": 10,  # within 10 s
    "global_keyprefix": "cel:",  # whoever shares the broker sees whose keys these are
    "queue_order_strategy": "priority",  # in the order of -Q, not in turn
}


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Every Celery setting that differs from its default, with its reason."""
    return {
        # ── what a message may be ──
        "broker_url": resolve_addresses(settings).broker_url,
        "result_backend": None,  # nobody reads results; a backend only adds ways to leak and to lose
        "task_ignore_result": True,
        "task_serializer": "json",  # never pickle: whoever reaches the broker would run code here
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        # ── delivery: safe because tasks are idempotent nudges ──
        "task_acks_late": True,  # a worker killed while it runs one leaves it to another
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure": True,  # the next beat tick is the retry; redelivering would be a poison loop
        "task_acks_on_timeout": True,
        "task_soft_time_limit": SOFT_TIME_LIMIT_SECONDS,
        "task_time_limit": TIME_LIMIT_SECONDS,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.2},  # then log and go on: beat comes by
        # ── queues ──
        "task_queues": _queues(),
        "task_default_queue": QUEUES[0],
        "task_create_missing_queues": False,  # a misspelled -Q is an error, not an empty queue
        "task_routes": ROUTES,
        "imports": list(MODULES),
        # ── workers ──
        "worker_prefetch_multiplier": 1,  # a reserved nudge waits behind a parked drain
        "worker_max_tasks_per_child": 1000,  # whatever leaks, leaks for hours at most
        "worker_max_memory_per_child": MAX_MEMORY_PER_CHILD_KIB,
        "worker_proc_alive_timeout": 30.0,  # 4 s by default: too short where two cores start everything at once
        "worker_soft_shutdown_timeout": 15.0,  # a parked drain ends within 10 s by itself
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # their messages are delivered again anyway
        "worker_send_task_events": False,  # nobody listens; health is heartbeat keys
        "task_send_sent_event": False,
        "worker_enable_remote_control": False,  # whoever reaches the broker could shut workers down
        "worker_hijack_root_logger": False,  # telemetry renders all records
        "worker_redirect_stdouts": False,
        # ── the broker comes and goes ──
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever: giving up would need a person
        "broker_pool_acquire_timeout": 5.0,
        "broker_transport_options": dict(TRANSPORT_OPTIONS),
        # ── beat ──
        "beat_scheduler": "celery.beat:Scheduler",  # in memory: intervals of seconds need no file of last runs
        "beat_max_loop_interval": 5,
        "beat_schedule": beat_schedule(settings.periods, settings.partitions),
        "enable_utc": True,
        "timezone": "UTC",
    }


class TrimtabApp(Celery):  # type: ignore[misc]  # celery ships no types
    """Reads its settings when they are first needed, so that importing it is free and can be tested."""

    def on_configure(self) -> None:
        self.config_from_object(celery_settings(Settings.load()))


def install(app: Celery, settings: Settings | None = None) -> None:
    """Add Trimtab's tasks, queues, routes and schedule to an application's own Celery app."""
    settings = settings or Settings.load()
    app.conf.task_queues = [*(app.conf.task_queues or []), *_queues()]
    app.conf.task_routes = {**(app.conf.task_routes or {}), **ROUTES}
    app.conf.imports = [*(app.conf.imports or []), *MODULES]
    app.conf.beat_schedule = {
        **(app.conf.beat_schedule or {}),
        **beat_schedule(settings.periods, settings.partitions),
    }


def _log_through_telemetry(loglevel: int | None = None, **_: Any) -> None:
    settings = Settings.load()
    telemetry.hide(settings.secrets())
    telemetry.configure(log_format=settings.log_format, level=settings.log_level)
    if settings.log_level != "DEBUG":
        for name in _CHATTY:
            logging.getLogger(name).setLevel("WARNING")


def _boot(**_: Any) -> None:
    check_visibility(app.conf)
    check_servers(Settings.load())
    try:
        bootstrap.preload()
    except Exception as error:  # Celery logs what a signal handler raises and goes on; a worker cannot
        raise SystemExit(f"The worker does not start: {error}") from error


def _plan_every_partition(**_: Any) -> None:
    """Beat revives the partitions that the log has, which need not be as many as the settings say."""
    services = bootstrap.Services()
    app.conf.beat_schedule = beat_schedule(services.settings.periods, services.known_partitions())
    services.close()
    send("heartbeat", expires=services.settings.periods.heartbeat_seconds)  # do not wait a period for the first


def _drain_at_once(sender: Any, **_: Any) -> None:
    """An ingest worker that starts looks at its log without waiting for beat."""
    if INGEST not in sender.app.amqp.queues.consume_from:
        return
    services = bootstrap.Services()
    for number in range(services.known_partitions()):
        send("drain", number, expires=services.settings.periods.revive_seconds)  # later, beat's will be there
    services.close()


def _forget_the_parents_connections(**_: Any) -> None:
    bootstrap.reset()


def check_visibility(conf: Any) -> None:
    """Raise SystemExit where a message would be delivered again while it may still run."""
    timeout, limit = conf.broker_transport_options["visibility_timeout"], conf.task_time_limit
    if timeout < 4 * limit:
        raise SystemExit(
            f"The visibility timeout of {timeout} s is shorter than four task time limits of {limit} s: "
            "running tasks would be delivered twice; raise visibility_timeout or lower task_time_limit."
        )


def _queues() -> list[Any]:
    """Each with an exchange and key of its own: the default would bind all of them to one."""
    return [Queue(name, Exchange(name), routing_key=name) for name in QUEUES]  # type: ignore[no-untyped-call]


app = TrimtabApp("trimtab")
app.steps["consumer"].add(Heartbeat)
signals.setup_logging.connect(_log_through_telemetry)
signals.worker_init.connect(_boot)
signals.worker_ready.connect(_drain_at_once)
signals.beat_init.connect(_plan_every_partition)
signals.worker_process_init.connect(_forget_the_parents_connections)
