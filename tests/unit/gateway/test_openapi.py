"""The committed OpenAPI document says what the table of addresses and the models say."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from trimtab_worker.gateway.access import Role
from trimtab_worker.gateway.openapi import document
from trimtab_worker.gateway.routes import ENDPOINTS, openapi_text

COMMITTED = Path(__file__).parents[3] / "deploy" / "schemas" / "openapi.json"


def test_the_committed_document_is_up_to_date() -> None:
    """If this fails: make schemas."""
    assert COMMITTED.read_text(encoding="utf-8") == openapi_text()


def test_every_address_and_method_is_described_once() -> None:
    described = [(method.upper(), path) for path, item in document(ENDPOINTS)["paths"].items() for method in item]
    assert sorted(described) == sorted((each.method, each.path) for each in ENDPOINTS)
    names = [operation["operationId"] for item in document(ENDPOINTS)["paths"].values() for operation in item.values()]
    assert len(set(names)) == len(names)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    found = document(ENDPOINTS)
    for schema in found["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    referred = {part.split('"')[0] for part in json.dumps(found["paths"]).split("#/components/schemas/")[1:]}
    assert referred
    assert referred <= set(found["components"]["schemas"])


def test_what_asks_for_a_key_says_so() -> None:
    for each in ENDPOINTS:
        operation = document(ENDPOINTS)["paths"][each.path][each.method.lower()]
        assert bool(operation["security"]) is (each.role is not Role.ANYONE)
        assert ("401" in operation["responses"]) is (each.role is not Role.ANYONE)
