"""The committed JSON Schemas say what the models say, and real documents obey them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from logs import Log, batch, event
from trimtab.schema.documents import documents
from trimtab.schema.experiment import Experiment

SCHEMAS = Path(__file__).parents[3] / "deploy" / "schemas"


@pytest.mark.parametrize("name", sorted(documents()))
def test_a_committed_schema_is_what_the_model_says(name: str) -> None:
    """If this fails: make schemas."""
    assert (SCHEMAS / name).read_text() == documents()[name]
    Draft202012Validator.check_schema(json.loads(documents()[name]))


def test_no_schema_is_left_of_a_model_that_is_gone() -> None:
    assert {path.name for path in SCHEMAS.glob("*.schema.json")} == set(documents())


def test_real_documents_obey_their_schemas() -> None:
    log = Log()
    current = log.control.show("checkout")
    assert current.allocation is not None
    samples = {
        "allocation": current.allocation.model_dump_json(),
        "experiment": Experiment.model_dump_json(current.experiment),
        "ledger_entry": log.control.explain("checkout").model_dump_json(),
        "outcome_event": json.dumps(event()),
        "event_batch": json.dumps(batch([event()])),
        "control_entry": log.store.read("0-0", 1)[0].fields[b"control"].decode(),
    }
    for name, text in samples.items():
        validator = Draft202012Validator(json.loads(documents()[f"{name}.schema.json"]))
        assert list(validator.iter_errors(json.loads(text))) == [], name
