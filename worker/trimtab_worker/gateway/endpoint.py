"""What an address of the gateway is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from trimtab_worker.gateway.access import Role
from trimtab_worker.gateway.desk import Desk

Handler = Callable[[Desk, Request], Awaitable[Response]]
Model = Any  # a pydantic model, an annotated type, or None for "any JSON"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address.

    `answers` maps status codes to models of their bodies, None for none; `refusals` are those with problems (RFC 9457),
    beside the ones that every address of a role has. `parameters` are OpenAPI parameter objects.
    """

    method: str
    path: str
    role: Role
    handler: Handler
    summary: str
    answers: dict[int, Model]
    takes: dict[str, Model] = field(default_factory=dict)  # media type → model of the body
    parameters: tuple[dict[str, Any], ...] = ()
    refusals: tuple[int, ...] = ()
    tagged: bool = False  # answers carry an ETag; If-None-Match is understood
