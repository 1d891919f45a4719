"""Every address of the gateway: method, path, role, handler, and what the OpenAPI document says of it.

A new address is one more entry of `ENDPOINTS`; what is asked for most often comes first, for routes are tried in turn.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from trimtab.schema.allocation import Allocation
from trimtab.schema.event import OutcomeEvent
from trimtab_worker.gateway import ofrep, openapi, payloads, probes, weights
from trimtab_worker.gateway.access import CLIENT_KEY, Role
from trimtab_worker.gateway.bodies import JSON, conditional, tag_of
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.documents import (
    Accepted,
    BulkFailure,
    BulkSuccess,
    EvaluationFailure,
    EvaluationRequest,
    EvaluationSuccess,
    Readiness,
)
from trimtab_worker.gateway.endpoint import Endpoint
from trimtab_worker.gateway.events import CLOUD_EVENT, CLOUD_EVENTS, MAX_ROWS, CloudEvent


async def take_events(desk: Desk, request: Request) -> Response:
    return await desk.intake.take(request)


async def describe(desk: Desk, request: Request) -> Response:
    """The OpenAPI document."""
    body = openapi_text().encode()
    return conditional(request, body, tag_of(body))


@cache
def openapi_text() -> str:
    """The OpenAPI document of all addresses, as it is written."""
    return openapi.text(ENDPOINTS)


_SLUG = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "With If-None-Match: wait up to so many seconds for a newer allocation. `Prefer: wait=N` does too.",
    "schema": {"type": "integer", "minimum": 0, "maximum": weights.MAX_WAIT_SECONDS},
}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Gives events without an event_id one, so that a request may be sent again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
}


def _path(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


_READ = Role.READER
_SEVERAL = Field(min_length=1, max_length=MAX_ROWS)
_TEXT = {"type": "string", "minLength": 1}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET", "/v1/weights/{experiment}", _READ, weights.weights, "The published allocation.",
        {200: Allocation}, parameters=(_path("experiment", _SLUG), _WAIT), refusals=(400, 404, 503), tagged=True,
    ),
    Endpoint(
        "POST", "/ofrep/v1/evaluate/flags/{key}", _READ, ofrep.evaluate_one, "OFREP: evaluate one experiment.",
        {200: EvaluationSuccess, 400: EvaluationFailure, 404: EvaluationFailure},
        takes={JSON: EvaluationRequest}, parameters=(_path("key", _TEXT),), refusals=(408, 413, 503),
    ),
    Endpoint(
        "POST", "/ofrep/v1/evaluate/flags", _READ, ofrep.evaluate_all, "OFREP: evaluate every experiment.",
        {200: BulkSuccess, 400: BulkFailure}, takes={JSON: EvaluationRequest}, refusals=(408, 413, 503), tagged=True,
    ),
    Endpoint(
        "POST", "/v1/events", Role.PRODUCER, take_events, "Add outcome events to the log, all of them or none.",
        {202: Accepted}, parameters=(_IDEMPOTENCY,), refusals=(400, 408, 413, 415, 429, 503),
        takes={
            JSON: OutcomeEvent | Annotated[list[OutcomeEvent], _SEVERAL],
            CLOUD_EVENT: CloudEvent,
            CLOUD_EVENTS: Annotated[list[CloudEvent], _SEVERAL],
        },
    ),
    Endpoint(
        "GET", f"/api/features/{{{CLIENT_KEY}}}", _READ, payloads.payload("growthbook"),
        "GrowthBook: the features payload; the client key is the API key.",
        {200: dict[str, Any]}, parameters=(_path(CLIENT_KEY, _TEXT),), refusals=(503,), tagged=True,
    ),
    Endpoint(
        "GET", "/api/client/features", _READ, payloads.payload("unleash"), "Unleash: the client features.",
        {200: dict[str, Any]}, refusals=(503,), tagged=True,
    ),
    Endpoint("POST", "/api/client/register", _READ, payloads.accept, "Unleash: who polls.", {202: None}),
    Endpoint("POST", "/api/client/metrics", _READ, payloads.accept, "Unleash: what SDKs count.", {202: None}),
    Endpoint(
        "GET", "/flagd/flags.json", _READ, payloads.payload("flagd"), "flagd: a source for its HTTP sync.",
        {200: dict[str, Any]}, refusals=(503,), tagged=True,
    ),
    Endpoint("GET", "/healthz", Role.ANYONE, probes.healthz, "Whether this process answers.", {200: dict[str, str]}),
    Endpoint(
        "GET", "/readyz", Role.ANYONE, probes.readyz, "Whether it can do its work.", {200: Readiness, 503: Readiness},
    ),
    Endpoint("GET", "/openapi.json", Role.ANYONE, describe, "This document.", {200: dict[str, Any]}),
)  # fmt: skip

