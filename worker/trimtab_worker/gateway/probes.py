"""Liveness and readiness."""

from __future__ import annotations

import orjson
from starlette.requests import Request
from starlette.responses import Response

from trimtab_worker.gateway.bodies import JSON
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.documents import Readiness

DRAIN_SILENT_SECONDS = 30.0  # drains follow each other within seconds; decisions call data stale after as long


async def healthz(desk: Desk, request: Request) -> Response:
    """200: the process answers."""
    return Response(b'{"status":"ok"}', media_type=JSON)


async def readyz(desk: Desk, request: Request) -> Response:
    """503 while the data server is away: another gateway may reach it.

    A silent drain is said, and no reason to take the gateway out: what it serves stays good, events wait in the log.
    """
    found = readiness(desk)
    return Response(orjson.dumps(found.model_dump()), 503 if found.status == "unready" else 200, media_type=JSON)


def readiness(desk: Desk) -> Readiness:
    board, gauge = desk.board, desk.intake.gauge
    silence, drain = board.silence(), gauge.newest.drain_silent_seconds
    checks = {"data_server": "it never answered" if silence is None else f"answered {silence:.0f} s ago"}
    if gauge.looked_at is None:
        checks["drain"] = "not looked at yet"
    else:
        checks["drain"] = "no ingest worker ever reported" if drain is None else f"reported {drain:.0f} s ago"
    checks["disk"] = f"{len(board.held_back)} publications wait for the data server's disk"
    checks["waiting"] = f"{board.waiting} requests wait for a change"
    if not board.is_fresh():
        status = "unready"
    else:
        status = "ready" if drain is not None and drain < DRAIN_SILENT_SECONDS else "degraded"
    return Readiness(status=status, checks=checks)
