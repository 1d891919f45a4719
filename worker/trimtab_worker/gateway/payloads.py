"""Allocations in the words of flag systems that people already run, served where their SDKs poll.

The documents are those of `trimtab.exporters`, all experiments in one; they follow from the allocations alone, so every
gateway serves the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response

from trimtab.exporters import EXPORTERS
from trimtab_worker.gateway.bodies import conditional, tag_of
from trimtab_worker.gateway.desk import Desk, Rendered
from trimtab_worker.gateway.problems import unavailable

Handler = Callable[[Desk, Request], Awaitable[Response]]


def payload(form: str) -> Handler:
    """The handler that serves one format."""

    async def serve(desk: Desk, request: Request) -> Response:
        if desk.board.silence() is None:
            raise unavailable("The data server has not answered yet, so no flag is known: ask again in a moment.")
        return conditional(request, *render(desk, form))

    return serve


def render(desk: Desk, form: str) -> tuple[bytes, str]:
    """The document of everything shown and its tag, made anew when something changed."""
    shown = desk.board.shown
    source = tuple(shown[name].etag for name in sorted(shown))
    if form not in desk.rendered or desk.rendered[form].source != source:
        body = orjson.dumps(EXPORTERS[form].render(each.allocation for each in shown.values()))
        desk.rendered[form] = Rendered(source, body, tag_of(body))
    return desk.rendered[form].body, desk.rendered[form].etag


async def accept(desk: Desk, request: Request) -> Response:
    """What SDKs tell their server about themselves: taken, and of no use here."""
    return Response(status_code=202)
