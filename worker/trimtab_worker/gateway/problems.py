"""How refusals look over HTTP: problem details (RFC 9457) with a closed code and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import Field
from starlette.responses import Response

from trimtab.schema.base import Schema

MEDIA_TYPE = "application/problem+json"


class ProblemCode(StrEnum):
    """The closed set of codes that `Problem.code` takes."""

    INVALID_INPUT = "invalid_input"  # correct the request
    INVALID_EVENTS = "invalid_events"  # correct or drop the rows named in `reasons`; nothing was written
    UNAUTHORIZED = "unauthorized"  # send an API key
    FORBIDDEN = "forbidden"  # use a key of the role that the sentence names
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"  # the request's body did not arrive in time
    TOO_LARGE = "too_large"  # send less at once
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    SLOW_DOWN = "slow_down"  # ask again after Retry-After seconds
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"  # the data server is away: ask again after Retry-After seconds


class Reason(Schema):
    """Why one row of a request was refused; `code` is one of the dead letters' codes."""

    row: int = Field(description="Place in the batch, from 0.")
    code: str
    detail: str


class Problem(Schema):
    """What every refusal says."""

    status: int
    title: str
    code: ProblemCode
    detail: str = Field(description="One sentence: what is wrong, and what to do.")
    reasons: tuple[Reason, ...] = Field((), description="Row by row, where rows were sent; the first hundred.")


class Refusal(Exception):
    """Ends a request with a problem."""

    def __init__(
        self,
        status: int,
        code: ProblemCode,
        detail: str,
        *,
        reasons: Sequence[Reason] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.reasons, self.headers = tuple(reasons), dict(headers or {})

    @property
    def document(self) -> dict[str, Any]:
        problem = Problem(
            status=self.status,
            title=HTTPStatus(self.status).phrase,
            code=self.code,
            detail=self.detail,
            reasons=self.reasons,
        )
        return problem.model_dump(mode="json", exclude_defaults=True)

    def response(self) -> Response:
        return Response(orjson.dumps(self.document), self.status, self.headers, MEDIA_TYPE)


def invalid(detail: str) -> Refusal:
    return Refusal(400, ProblemCode.INVALID_INPUT, detail)


def not_found(detail: str) -> Refusal:
    return Refusal(404, ProblemCode.NOT_FOUND, detail)


def slow_down(detail: str, seconds: int) -> Refusal:
    return Refusal(429, ProblemCode.SLOW_DOWN, detail, headers={"Retry-After": str(seconds)})


def unavailable(detail: str, seconds: int = 1) -> Refusal:
    return Refusal(503, ProblemCode.UNAVAILABLE, detail, headers={"Retry-After": str(seconds)})
