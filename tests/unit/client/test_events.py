"""What `publish` takes, and how it refuses: at once, by name, before anything is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given

from client_events import NOW, event, events
from trimtab.client._events import as_event
from trimtab.errors import ConfigurationError, InvalidInput
from trimtab.schema.event import OutcomeEvent

FIELDS: Mapping[str, Any] = {
    "experiment_id": "checkout",
    "variant": "b",
    "metrics": {"converted": 1.0},
    "occurred_at": "2026-11-21T08:30:00Z",
}


@given(events)
def test_every_valid_event_is_taken_as_it_is_and_from_its_fields(given_event: OutcomeEvent) -> None:
    assert as_event(given_event, {}) is given_event
    assert as_event(given_event.model_dump(), {}) == given_event
    assert as_event(None, given_event.model_dump()) == given_event


def test_keywords_complete_a_mapping() -> None:
    assert as_event({**FIELDS, "from_elsewhere": 1}, {"epoch": 7}).epoch == 7


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({**FIELDS, "metrics": {"converted": float("nan")}}, "metrics.converted"),
        ({**FIELDS, "metrics": {}}, "metrics"),
        ({**FIELDS, "experiment_id": "a}:x{"}, "experiment_id"),
        ({**FIELDS, "occurred_at": "2026-11-21T08:30:00"}, "occurred_at"),
        ({**FIELDS, "epoch": 0}, "epoch"),
        ({**FIELDS, "unit": "user-1"}, "unit"),
        ({}, "experiment_id"),
    ],
)
def test_a_bad_field_is_named_in_one_sentence(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=r"^event: ") as caught:
        as_event(None, fields)
    assert caught.value.field == field
    assert not isinstance(caught.value, ConfigurationError)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("given", ["an event", 7, [("experiment_id", "x")]])
def test_something_else_is_refused_by_its_type(given: Any) -> None:
    with pytest.raises(InvalidInput, match=type(given).__name__):
        as_event(given, {})


def test_an_event_with_keywords_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not both"):
        as_event(event(1), {"epoch": 2})


def test_an_event_of_more_than_eight_kibibytes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="8192 are allowed"):
        as_event(event(1, features={"text": "ü" * 4096}), {})


def test_an_event_that_skipped_validation_is_refused_where_json_cannot_hold_it() -> None:
    broken = OutcomeEvent.model_construct(**{**FIELDS, "occurred_at": NOW, "unit_id": "\ud800"})
    with pytest.raises(InvalidInput, match="JSON"):
        as_event(broken, {})


@pytest.mark.parametrize("features", [{"\ud800": 1}, {"fine": 1, "\udfff": "x"}])
def test_a_feature_that_has_no_utf8_is_refused_by_its_field(features: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"^event: features .*UTF-8") as caught:
        as_event(None, {**FIELDS, "features": features})
    assert caught.value.field == "features"
    str(caught.value).encode()
