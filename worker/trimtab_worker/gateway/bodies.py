"""What comes in, within limits, and how it is answered: bodies, JSON, conditional requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from trimtab.schema.event import MAX_BATCH_BYTES
from trimtab_worker.gateway.problems import ProblemCode, Refusal

MAX_BODY_BYTES = MAX_BATCH_BYTES
MAX_DEPTH = 8
BODY_SECONDS = 10.0  # a body that takes longer is an attack, or as good as one
JSON = "application/json"
# Every answer is asked for anew, which a tag makes cheap; shared caches must not hand one key's answer to another.
REVALIDATE = {"Cache-Control": "private, no-cache"}


async def read_body(request: Request) -> bytes:
    """The request's body.

    Raises:
        Refusal: 413 above 1 MiB, 408 where it does not arrive.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                chunks.append(chunk)
    except (TimeoutError, ClientDisconnect):
        raise Refusal(
            408, ProblemCode.TIMEOUT, f"The body did not arrive within {BODY_SECONDS:g} s: send it again."
        ) from None
    return b"".join(chunks)


def parse_json(body: bytes) -> Any:
    """A JSON document of at most eight levels.

    Raises:
        ValueError: it is none; the text says why.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if _is_deeper(document, MAX_DEPTH):
        raise ValueError(f"the JSON nests deeper than {MAX_DEPTH} levels")
    return document


def tag_of(body: bytes) -> str:
    """A strong tag for a body that is computed."""
    return f'"{sha256(body).hexdigest()[:32]}"'


def conditional(request: Request, body: bytes, etag: str) -> Response:
    """The JSON body, or 304 for who has it."""
    headers = {"ETag": etag, **REVALIDATE}
    tags = request.headers.get("if-none-match", "")
    if etag in (tag.strip().removeprefix("W/") for tag in tags.split(",")) or tags.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=JSON)


def _too_large() -> Refusal:
    return Refusal(413, ProblemCode.TOO_LARGE, f"The body is above {MAX_BODY_BYTES:,} bytes: send less at once.")


def _is_deeper(document: Any, levels: int) -> bool:
    """Whether containers nest deeper than `levels`; level by level, so that no depth exhausts the stack."""
    layer = _containers([document])
    for _ in range(levels):
        layer = _containers(
            inner for outer in layer for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
        if not layer:
            return False
    return True


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
