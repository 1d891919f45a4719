"""From HTTP bodies to entries of the log: nothing that is taken is changed, and the fold can read all of it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_events import NOW, events
from trimtab.fold import Entry
from trimtab.fold.decode import Batch, Rows, decode
from trimtab.schema.event import MAX_BATCH_BYTES, MAX_EVENT_BYTES, OutcomeEvent
from trimtab_worker.gateway.events import CLOUD_EVENT, MEDIA_TYPES, check, entries, read_rows
from trimtab_worker.gateway.problems import Refusal

JSON = "application/json"
live = events.map(lambda event: event.model_copy(update={"origin": "live"}))


def log_of(taken: list[OutcomeEvent]) -> list[Entry]:
    return [
        Entry(f"{NOW}-{place}", {field.encode(): payload}) for place, (field, payload) in enumerate(entries(taken, NOW))
    ]


@given(st.lists(live, min_size=1, max_size=40))
def test_what_is_sent_is_what_is_taken(sent: list[OutcomeEvent]) -> None:
    body = json.dumps([json.loads(event.model_dump_json()) for event in sent]).encode()
    assert check(read_rows(JSON, {}, body)) == sent


@given(st.lists(live, min_size=1, max_size=40))
def test_every_entry_can_be_read_and_no_event_is_lost_or_made(taken: list[OutcomeEvent]) -> None:
    items = decode(log_of(taken)).items
    assert all(isinstance(item, Rows | Batch) for item in items)
    assert sum(len(item.events) if isinstance(item, Rows) else item.batch.n for item in items) == len(taken)


@given(st.lists(live, min_size=1, max_size=40))
def test_no_entry_is_larger_than_the_fold_takes(taken: list[OutcomeEvent]) -> None:
    limits = {"event": MAX_EVENT_BYTES, "batch": MAX_BATCH_BYTES}
    assert all(len(payload) <= limits[field] for field, payload in entries(taken, NOW))


@given(st.lists(live, min_size=1, max_size=10), st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1))
def test_an_idempotency_key_names_nameless_rows_and_no_others(sent: list[OutcomeEvent], key: str) -> None:
    taken = check([json.loads(event.model_dump_json()) for event in sent], key)
    assert [event.event_id for event in taken] == [event.event_id or f"{key}#{n}" for n, event in enumerate(sent)]


def cloud(source: str, id_: str) -> dict[str, Any]:
    data = {"experiment_id": "checkout", "variant": "a", "occurred_at": NOW, "metrics": {"converted": 1}}
    return {"specversion": "1.0", "type": "outcome", "source": source, "id": id_, "data": data}


sources = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=300)
ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=300)


@given(sources, ids, sources, ids)
def test_cloud_events_have_one_name_exactly_if_source_and_id_agree(
    source: str, id_: str, other_source: str, other_id: str
) -> None:
    def name(*pair: str) -> str | None:
        body = json.dumps(cloud(*pair)).encode()
        return check(read_rows(CLOUD_EVENT, {}, body))[0].event_id

    assert name(source, id_) == name(source, id_)
    assert (name(source, id_) == name(other_source, other_id)) is ((source, id_) == (other_source, other_id))


scalars = st.none() | st.booleans() | st.floats() | st.text()
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(documents, st.sampled_from(MEDIA_TYPES))
def test_whatever_comes_is_taken_or_refused(document: Any, media_type: str) -> None:
    with suppress(Refusal):
        assert check(read_rows(media_type, {}, json.dumps(document).encode()))


def test_the_largest_event_is_taken_and_a_byte_more_is_not() -> None:
    def row(padding: int) -> dict[str, Any]:
        return {
            "experiment_id": "checkout", "variant": "a", "occurred_at": NOW, "metrics": {"converted": 1.5},
            "features": {"f": "x" * padding}, "v": 1, "origin": "live",
        }  # fmt: skip

    room = MAX_EVENT_BYTES - len(OutcomeEvent.model_validate(row(0)).model_dump_json(exclude_none=True))
    assert len(check([row(room)])) == 1
    with pytest.raises(Refusal) as refused:
        check([row(room + 1)])
    assert (refused.value.status, refused.value.reasons[0].code) == (413, "too_large")


