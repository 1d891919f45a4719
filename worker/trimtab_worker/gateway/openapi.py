"""The OpenAPI 3.1 document, from the table of addresses and the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from trimtab_worker.gateway.access import Role
from trimtab_worker.gateway.bodies import JSON
from trimtab_worker.gateway.endpoint import Endpoint
from trimtab_worker.gateway.problems import MEDIA_TYPE, Problem

_REF = "#/components/schemas/{model}"
_OF_KEYS = (401, 403, 429)
_ETAG = {"ETag": {"description": "A strong tag of this answer.", "schema": {"type": "string"}}}
_RETRY = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}}
_RETRIED = (429, 503)


def text(endpoints: Sequence[Endpoint]) -> str:
    """The document as it is written."""
    return json.dumps(document(endpoints), indent=2, ensure_ascii=False) + "\n"


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The document that describes these addresses."""
    models = _Models()
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, models)
    refusals = _refusals(endpoints, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trimtab gateway",
            "version": version("trimtab"),
            "description": "Published weights, flag evaluation and outcome events over HTTP.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "responses": refusals,
            "schemas": dict(sorted(models.definitions.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


class _Models:
    """Schemas of models, and the definitions that they refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def schema(self, model: Any) -> dict[str, Any]:
        schemas, found = TypeAdapter.json_schemas([(0, "validation", TypeAdapter(model))], ref_template=_REF)
        self.definitions |= found.get("$defs", {})
        return dict(schemas[0, "validation"])


def _operation(endpoint: Endpoint, models: _Models) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": endpoint.summary, "operationId": _operation_id(endpoint)}
    parameters = list(endpoint.parameters)
    if endpoint.tagged:
        described = "Tags that the caller has; 304 if one of them is this answer's."
        parameters.append(
            {"name": "If-None-Match", "in": "header", "description": described, "schema": {"type": "string"}}
        )
    if parameters:
        operation["parameters"] = parameters
    if endpoint.takes:
        content = {media: {"schema": models.schema(model)} for media, model in endpoint.takes.items()}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = dict(sorted(_responses(endpoint, models).items()))
    # An open gateway asks for no key, which the empty requirement says.
    operation["security"] = [] if endpoint.role is Role.ANYONE else [{"bearer": []}, {"key": []}, {}]
    return operation


def _responses(endpoint: Endpoint, models: _Models) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, model in endpoint.answers.items():
        responses[str(status)] = answer = {"description": HTTPStatus(status).phrase}
        if model is not None:
            answer["content"] = {JSON: {"schema": models.schema(model)}}  # type: ignore[assignment]
        if endpoint.tagged and status == 200:
            answer["headers"] = _ETAG  # type: ignore[assignment]
    if endpoint.tagged:
        responses["304"] = {"description": "Not Modified", "headers": _ETAG}
    for status in (*endpoint.refusals, *(() if endpoint.role is Role.ANYONE else _OF_KEYS)):
        responses[str(status)] = {"$ref": f"#/components/responses/{_refusal_name(status)}"}
    return responses


def _refusals(endpoints: Sequence[Endpoint], models: _Models) -> dict[str, Any]:
    """Every refusal that some address gives, described once."""
    statuses = {status for endpoint in endpoints for status in endpoint.refusals} | set(_OF_KEYS)
    content = {MEDIA_TYPE: {"schema": models.schema(Problem)}}
    return {
        _refusal_name(status): {
            "description": HTTPStatus(status).phrase,
            "content": content,
            **({"headers": _RETRY} if status in _RETRIED else {}),
        }
        for status in sorted(statuses)
    }


def _refusal_name(status: int) -> str:
    return HTTPStatus(status).name.title().replace("_", "")


def _operation_id(endpoint: Endpoint) -> str:
    words = [word for word in endpoint.path.replace("{", "").replace("}", "").replace(".", "/").split("/") if word]
    return "_".join([endpoint.method.lower(), *words])
