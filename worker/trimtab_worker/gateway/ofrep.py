"""OpenFeature Remote Evaluation Protocol 0.3.0: one flag or all of them, evaluated here for the caller's unit.

A flag is an experiment, its value the variant's id, its targeting key the unit. Metadata say what an outcome event
needs to hand on: epoch and propensity.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from trimtab.client._reading import is_slug
from trimtab.ids import OPAQUE_MAX_LENGTH
from trimtab_worker.gateway.board import Board
from trimtab_worker.gateway.bodies import JSON, conditional, parse_json, read_body, tag_of
from trimtab_worker.gateway.desk import Desk
from trimtab_worker.gateway.problems import unavailable


class ErrorCode(StrEnum):
    """OpenFeature's codes, as far as they occur here."""

    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"


class Failure(Exception):
    """Ends an evaluation with the protocol's own form of refusal."""

    def __init__(self, code: ErrorCode, details: str, status: int = 400) -> None:
        super().__init__(details)
        self.code, self.details, self.status = code, details, status

    def response(self, **key: str) -> Response:
        document = {**key, "errorCode": self.code.value, "errorDetails": self.details}
        return Response(orjson.dumps(document), self.status, media_type=JSON)


async def evaluate_one(desk: Desk, request: Request) -> Response:
    """The flag of the path, for the context's targeting key."""
    key = request.path_params["key"]
    try:
        unit_id = targeting_key(await read_body(request))
        shown = await desk.board.find(key) if is_slug(key) else None
        if shown is None:
            _check_known(desk.board)
            raise Failure(ErrorCode.FLAG_NOT_FOUND, f"There is no running experiment {key[:64]!r}.", 404)
        return Response(orjson.dumps(success(desk.board, key, unit_id)), media_type=JSON)
    except Failure as failure:
        return failure.response(key=key)


async def evaluate_all(desk: Desk, request: Request) -> Response:
    """Every flag, for the context's targeting key, with a tag: 304 while nothing has changed for this unit."""
    try:
        unit_id = targeting_key(await read_body(request))
    except Failure as failure:
        return failure.response()
    _check_known(desk.board)
    body = orjson.dumps({"flags": [success(desk.board, key, unit_id) for key in sorted(desk.board.shown)]})
    return conditional(request, body, tag_of(body))


def success(board: Board, key: str, unit_id: str) -> dict[str, Any]:
    """One evaluated flag, of an experiment that is shown."""
    found = board.assign(key, unit_id)
    return {
        "key": key,
        "value": found.variant,
        "variant": found.variant,
        "reason": found.reason.value,
        "metadata": {
            "epoch": found.epoch,
            "propensity": found.propensity,
            "revision": found.revision,
            "incarnation": board.shown[key].allocation.incarnation,
        },
    }


def targeting_key(body: bytes) -> str:
    """The unit to evaluate for.

    Raises:
        Failure: the body is no JSON object, its context none, or there is no key in it.
    """
    try:
        document = parse_json(body)
    except ValueError as error:
        raise Failure(ErrorCode.PARSE_ERROR, f"Send an object with a context: {error}.") from None
    if not isinstance(document, dict):
        raise Failure(ErrorCode.PARSE_ERROR, "Send an object with a context.")
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise Failure(ErrorCode.INVALID_CONTEXT, "context must be an object.")
    key = context.get("targetingKey")
    if key is None or key == "":
        raise Failure(ErrorCode.TARGETING_KEY_MISSING, "context.targetingKey must name the unit to evaluate for.")
    if not isinstance(key, str) or len(key) > OPAQUE_MAX_LENGTH:
        raise Failure(ErrorCode.INVALID_CONTEXT, f"targetingKey must be text of 1 to {OPAQUE_MAX_LENGTH} characters.")
    return key


def _check_known(board: Board) -> None:
    if board.silence() is None:
        raise unavailable("The data server has not answered yet, so no flag is known: ask again in a moment.")
