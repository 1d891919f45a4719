"""Celery tasks: thin shells with a name, a queue, a policy and one call; `queue_of` is where each of them runs.

===================================  =======  ==========================================================
task                                 queue    what it does
===================================  =======  ==========================================================
trimtab.drain(partition)             ingest   fold new entries, park for more, renew itself once
trimtab.maintain(partition)          ingest   trim the log behind a snapshot
trimtab.tick()                       decide   send a recompute for what is due
trimtab.recompute(experiment)        decide   one decision, published
trimtab.heartbeat()                  decide   beat is alive and heard
trimtab.start|hold|resume|halt|stop  decide   an order, best effort (see `orders`)
trimtab.conclude                     decide   the same
trimtab.analyse.*                    analyse  heavy fits (none yet)
===================================  =======  ==========================================================
"""

from trimtab_worker.tasks.nudge import ANALYSE, DECIDE, INGEST

MODULES = ("trimtab_worker.tasks.ingest", "trimtab_worker.tasks.decide", "trimtab_worker.tasks.orders")
QUEUES = (DECIDE, INGEST, ANALYSE)
ROUTES = {
    "trimtab.drain": {"queue": INGEST},
    "trimtab.maintain": {"queue": INGEST},
    "trimtab.analyse.*": {"queue": ANALYSE},
    "trimtab.*": {"queue": DECIDE},
}

__all__ = ["MODULES", "QUEUES", "ROUTES"]
