"""`GET /v1/weights/{experiment}`: the published allocation, with a strong tag, at once or when it changes."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from trimtab_worker.gateway.board import Board, Shown, has_seen
from trimtab_worker.gateway.bodies import JSON, REVALIDATE
from trimtab_worker.gateway.desk import Desk, checked_slug
from trimtab_worker.gateway.problems import invalid, not_found, unavailable

MAX_WAIT_SECONDS = 60  # proxies cut silent connections after that
MAX_WAITING = 10_000  # a waiter costs some 20 KB; beyond, the answer comes at once and the client polls
_PREFERS_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE).search


async def weights(desk: Desk, request: Request) -> Response:
    """200 with the allocation, 304 for who has it, after waiting for a newer one as long as was asked for."""
    name = checked_slug(request.path_params["experiment"])
    seconds, headers = wanted_wait(request.query_params.get("wait"), request.headers.get("prefer"))
    shown = await desk.board.find(name)
    if shown is None:
        raise await _absence(desk.board, name)
    tags = request.headers.get("if-none-match", "")
    if seconds and has_seen(shown, tags):
        shown = await _newer(desk.board, shown, tags, seconds, request)
    headers |= {"ETag": shown.etag, **REVALIDATE}
    if has_seen(shown, tags):
        return Response(status_code=304, headers=headers)
    return Response(shown.body, headers=headers, media_type=JSON)


def wanted_wait(query: str | None, prefer: str | None) -> tuple[int, dict[str, str]]:
    """For how many seconds to wait for a change, and the header that says what was made of `Prefer` (RFC 7240).

    Raises:
        Refusal: 400, `wait` is no number of seconds.
    """
    if query is not None:
        if not (query.isascii() and query.isdecimal() and int(query[:9]) <= MAX_WAIT_SECONDS and len(query) < 10):
            raise invalid(f"wait takes whole seconds, 0 to {MAX_WAIT_SECONDS}.")
        return int(query), {}
    found = _PREFERS_WAIT(prefer) if prefer else None
    if found is None:
        return 0, {}
    seconds = min(int(found[1]), MAX_WAIT_SECONDS)
    return seconds, {"Preference-Applied": f"wait={seconds}"}


async def _newer(board: Board, shown: Shown, tags: str, seconds: int, request: Request) -> Shown:
    """What is shown once it is newer than what the client has, when the time is up, or when the client is gone."""
    if board.waiting >= MAX_WAITING:
        return shown
    name = shown.allocation.experiment_id
    gone = asyncio.create_task(_disconnected(request))
    board.waiting += 1
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while has_seen(shown, tags) and not board.closing and not gone.done():
                    change = asyncio.create_task(board.change(name, shown))
                    await asyncio.wait({change, gone}, return_when=asyncio.FIRST_COMPLETED)
                    change.cancel()
                    shown = board.shown[name]
    finally:
        board.waiting -= 1
        gone.cancel()
    return shown


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _absence(board: Board, name: str) -> Exception:
    """Why there is nothing to show."""
    if board.silence() is None:
        return unavailable("The data server has not answered yet, so nothing is known: ask again in a moment.")
    if name in board.held_back:
        return unavailable(f"The allocation of experiment {name!r} is not on disk yet: ask again in a moment.")
    if await board.exists(name):
        return not_found(f"Experiment {name!r} has no allocation yet: start it with `trimtab experiment start {name}`.")
    return not_found(f"There is no experiment {name!r}: create it, or correct the name.")
