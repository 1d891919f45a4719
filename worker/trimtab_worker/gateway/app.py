"""The ASGI application: the addresses of `routes` over the parts of `desk`, and one form for whatever goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trimtab import telemetry
from trimtab_worker.bootstrap import Services
from trimtab_worker.gateway.access import Gate, Keys
from trimtab_worker.gateway.board import Board
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.endpoint import Endpoint
from trimtab_worker.gateway.intake import Intake
from trimtab_worker.gateway.pressure import Gauge, look
from trimtab_worker.gateway.problems import ProblemCode, Refusal, not_found
from trimtab_worker.gateway.routes import ENDPOINTS

log = telemetry.get_logger(__name__)


def build(services: Services) -> tuple[Starlette, Desk]:
    """The application over a process's services, and its parts.

    Raises:
        ConfigurationError: a key in the settings cannot be one.
    """
    settings = services.settings.gateway
    board, gauge = Board(services.async_client), Gauge(lambda: look(services))
    desk = Desk(
        board=board,
        intake=Intake(services.async_client, board, gauge, settings.max_unread_entries, services.signing_key),
        gate=Gate(Keys.of(settings), settings.requests_per_second),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with board.running(), gauge.running():
            yield
        await services.async_client.aclose()

    return application(desk, lifespan), desk


def application(desk: Desk, lifespan: Callable[[Starlette], object] | None = None) -> Starlette:
    """The application over these parts."""
    return Starlette(
        routes=[Route(each.path, _serving(desk, each), methods=[each.method]) for each in ENDPOINTS],
        exception_handlers={HTTPException: _unroutable},  # type: ignore[dict-item]
        lifespan=lifespan,  # type: ignore[arg-type]
    )


def _serving(desk: Desk, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            desk.gate.admit(endpoint.role, request)
            return await endpoint.handler(desk, request)
        except Refusal as refusal:
            return refusal.response()
        except Exception:
            log.exception("request_failed", path=endpoint.path)
            return Refusal(500, ProblemCode.INTERNAL, "Something went wrong here; the gateway's log has it.").response()

    return serve


async def _unroutable(_: Request, error: HTTPException) -> Response:
    """No such address, or not this method."""
    if error.status_code == 405:
        refusal = Refusal(405, ProblemCode.METHOD_NOT_ALLOWED, "This address does not take that method.")
        return Refusal(405, refusal.code, refusal.detail, headers=error.headers).response()
    return not_found("There is nothing at this address: /openapi.json lists all there are.").response()
