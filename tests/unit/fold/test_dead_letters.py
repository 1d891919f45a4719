"""What cannot be applied leaves with one closed reason, and nothing else is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faults.reporting import Check
from logs import HOUR, NOW, Log, batch, definition, event
from trimtab.fold import Entry
from trimtab.schema.event import MAX_CONTROL_BYTES
from trimtab.schema.experiment import MAX_VARIANTS

GOOD = 200

BAD_ROWS: list[tuple[str, Any, str]] = [
    ("not JSON", b"{nope", "not_json"),
    ("invalid UTF-8", b'{"experiment_id":"\xff\xfe"}', "not_json"),
    ("nested a thousand deep", b'{"a":' * 1000 + b"1" + b"}" * 1000, "not_json"),
    ("a list", b"[]", "invalid_field"),
    ("one megabyte", json.dumps(event(unit_id="x" * 2**20)).encode(), "too_large"),
    ("a version of the future", event(v=99), "schema_version"),
    ("no experiment", {k: v for k, v in event().items() if k != "experiment_id"}, "missing_field"),
    ("no variant", {k: v for k, v in event().items() if k != "variant"}, "missing_field"),
    ("no metrics", {k: v for k, v in event().items() if k != "metrics"}, "missing_field"),
    ("no instant", {k: v for k, v in event().items() if k != "occurred_at"}, "missing_field"),
    ("an unknown experiment", event(experiment_id="nowhere"), "unknown_experiment"),
    ("an id that is none", event(experiment_id="a}:x{"), "invalid_field"),
    ("an unknown variant", event(variant="stranger"), "unknown_variant"),
    ("an unknown epoch", event(epoch=77), "unknown_epoch"),
    ("an epoch of zero", event(epoch=0), "invalid_field"),
    ("unknown metrics only", event(metrics={"strange": 1}), "unknown_metric"),
    ("a string for a number", event(metrics={"converted": "1"}), "invalid_value"),
    ("a boolean for a number", event(metrics={"converted": True}), "invalid_value"),
    ("NaN", b'{"experiment_id":"checkout","variant":"b","occurred_at":1,"metrics":{"converted":NaN}}', "invalid_value"),
    ("infinity", event(metrics={"converted": float("inf")}), "invalid_value"),
    ("1e308", event(metrics={"converted": 1e308}), "invalid_value"),
    ("two for a binary metric", event(metrics={"converted": 2}), "invalid_value"),
    ("a negative amount", event(metrics={"amount": -5}), "invalid_value"),
    ("tomorrow", event(occurred_at=NOW + 24 * HOUR), "future"),
    ("three days ago", event(occurred_at=NOW - 72 * HOUR), "too_late"),
    ("a naive instant", event(occurred_at="2026-11-21T08:00:00"), "invalid_field"),
    ("a unit id with 300 characters", event(unit_id="u" * 300), "invalid_field"),
]


@pytest.mark.parametrize(("_what", "bad", "code"), BAD_ROWS, ids=[what for what, _, _ in BAD_ROWS])
def test_a_bad_row_is_refused_with_its_reason_and_the_rest_is_counted(_what: str, bad: Any, code: str) -> None:
    log = Log()
    for place in range(GOOD):
        log.row(event())
        if place == GOOD // 2:
            log.row(bad)
    report = log.drain()
    assert (report.folded, report.dead) == (GOOD, 1)
    assert log.cell("b").n == GOOD
    assert log.dead_codes() == [code]
    (letter,) = log.store.dead_letters(1)
    assert letter.detail
    assert len(letter.raw) <= 4096
    assert letter.source in {entry.id for entry in log.store.read("0-0", 1000)}


BAD_COLUMNS: list[tuple[str, dict[str, Any], str, int]] = [
    ("not JSON", {"raw": b"{nope"}, "not_json", 1),
    ("a column that is too short", {"variant": [0]}, "invalid_field", GOOD),
    ("a version of the future", {"v": 2}, "schema_version", GOOD),
    ("no variants", {"variants": []}, "invalid_field", GOOD),
    ("an unknown experiment", {"experiment_id": "nowhere"}, "unknown_experiment", GOOD),
    ("an unknown epoch", {"epoch": 9}, "unknown_epoch", GOOD),
    ("unknown metrics only", {"metrics": {"strange": [1] * GOOD}}, "unknown_metric", GOOD),
    ("sealed three days ago", {"sent_at": NOW - 72 * HOUR}, "too_late", GOOD),
    ("sealed tomorrow", {"sent_at": NOW + 24 * HOUR}, "future", GOOD),
]


@pytest.mark.parametrize(("_what", "changes", "code", "n"), BAD_COLUMNS, ids=[what for what, *_ in BAD_COLUMNS])
def test_a_bad_batch_is_refused_with_its_reason(_what: str, changes: dict[str, Any], code: str, n: int) -> None:
    log = Log()
    log.columns(changes.get("raw") or batch([event()] * GOOD, **changes))
    log.columns(batch([event()] * GOOD))
    report = log.drain()
    assert (report.folded, report.dead) == (GOOD, n)
    assert set(log.dead_codes()) == {code}


BAD_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("a place beyond the variants", {"variant": [5]}, "invalid_field"),
    ("a negative place", {"variant": [-1]}, "invalid_field"),
    ("a fraction for a place", {"variant": [0.5]}, "invalid_field"),
    ("a boolean for a place", {"variant": [True]}, "invalid_field"),
    ("an offset that is text", {"offsets": ["1"]}, "invalid_field"),
    ("an offset of 2⁶²", {"offsets": [2**62]}, "invalid_field"),
    ("a value that is text", {"metrics": {"converted": ["1"]}}, "invalid_value"),
    ("a value that is a list", {"metrics": {"converted": [[1]]}}, "invalid_value"),
    ("a value that is true", {"metrics": {"converted": [True]}}, "invalid_value"),
    ("a value of 10⁴⁰⁰", {"metrics": {"converted": [10**400]}}, "invalid_value"),
    ("no value at all", {"metrics": {"converted": [None]}}, "unknown_metric"),
    ("an event three days old", {"offsets": [-72 * HOUR]}, "too_late"),
    ("an event of tomorrow", {"offsets": [24 * HOUR]}, "future"),
    ("an event id that is a number", {"event_id": [7]}, "invalid_field"),
    ("an empty event id", {"event_id": [""]}, "invalid_field"),
]


@pytest.mark.parametrize(("_what", "changes", "code"), BAD_VALUES, ids=[what for what, *_ in BAD_VALUES])
def test_one_bad_value_costs_its_event_and_no_other(_what: str, changes: dict[str, Any], code: str) -> None:
    """The bad value stands in the middle of a good batch; only its row leaves, and the letter names it."""
    good = batch([event(event_id=f"e{place}") for place in range(GOOD)])
    for name, (value,) in changes.items() if "metrics" not in changes else ():
        good[name] = [*good[name][:100], value, *good[name][101:]]
    if "metrics" in changes:
        good["metrics"]["converted"][100] = changes["metrics"]["converted"][0]
    log = Log()
    log.columns(good)
    report = log.drain()
    assert (report.folded, report.dead) == (GOOD - 1, 1)
    assert log.dead_codes() == [code]
    assert log.store.dead_letters(1)[0].row == 100


def test_an_entry_without_a_known_field_is_refused() -> None:
    log = Log()
    log.store.append("surprise", b"1")
    log.drain()
    assert log.dead_codes() == ["unknown_entry"]


def test_a_control_entry_that_is_none_changes_nothing() -> None:
    log = Log()
    log.store.append("control", b'{"kind": "explode"}')
    log.row(event())
    assert log.drain().folded == 1
    assert log.dead_codes() == ["invalid_control"]


@pytest.mark.parametrize("order", [
    {"kind": "define", "experiment": definition(id="other", metrics=[{"name": "m", "kind": ["binary"]}])},
    {"kind": "define", "experiment": definition(id="other", metrics=[{"name": "m", "kind": {"of": "binary"}}])},
    {"kind": "epoch", "experiment_id": "checkout", "epoch": 2, "parts": {}},
])  # fmt: skip
def test_an_order_that_no_process_of_ours_writes_kills_no_reader(order: dict[str, Any]) -> None:
    log = Log()
    log.store.append("control", json.dumps({"v": 1, "at": NOW, **order}).encode())
    merge = {"kind": "compact", "experiment_id": "checkout", "into": {"2": 1}}
    log.store.append("control", json.dumps({"v": 1, "at": NOW, **merge}).encode())
    log.row(event())
    assert log.drain().folded == 1
    assert log.dead_codes() == ["invalid_control"]


def test_what_a_letter_says_of_its_event_is_true_beside_whichever_others_it_was_read() -> None:
    log = Log()
    log.row(event(variant="c"))
    log.row(event(variant="d"))
    log.row(event(epoch=7))
    log.row(event(epoch=None, exposed_at=NOW - HOUR))
    log.drain()
    said = [letter.detail for letter in reversed(log.store.dead_letters(4))]
    for sentence, named in zip(said, ("variant 'c'", "variant 'd'", "epoch 7", "the epoch at exposed_at"), strict=True):
        assert named in sentence
    log.row(event(variant="c"))
    log.drain()
    assert log.store.dead_letters(1)[0].detail == "variant 'c' is not one of control, b"


def test_the_longest_definition_is_read_and_what_is_longer_still_is_no_order() -> None:
    log = Log()
    ids = [f"{place:064d}" for place in range(MAX_VARIANTS)]
    longest = definition(
        id="longest",
        description="\1" * 10_000,
        variants=[{"id": name, "description": "\1" * 1000} for name in ids],
        constraints={"min_weight": 0, "floors": dict.fromkeys(ids, 0.001), "ceilings": dict.fromkeys(ids, 0.999)},
    )
    log.control.create(longest)
    log.experiment = "longest"
    log.store.append("control", b"[" * (MAX_CONTROL_BYTES + 1))
    log.drain()
    assert log.state().definition.description == "\1" * 10_000
    assert log.dead_codes() == ["too_large"]


def test_a_missing_unit_is_refused_where_units_are_counted() -> None:
    log = Log(unit="unit")
    log.row(event())
    log.columns(batch([event(unit_id="u1"), event()]))
    log.columns(batch([event()]))
    assert log.drain().folded == 1
    assert log.dead_codes() == ["missing_unit"] * 3


def test_outcomes_are_refused_before_the_start_and_after_the_stop() -> None:
    log = Log()
    log.control.create({**log.publications.read("checkout").experiment.model_dump(), "id": "later"})  # type: ignore[union-attr]
    log.row(event(experiment_id="later"))
    log.row(event())
    log.control.stop("checkout")
    log.row(event())
    assert log.drain().folded == 1
    assert log.dead_codes() == ["not_started", "stopped"]


def test_a_value_beyond_the_cap_is_clipped_and_counted(check: Check) -> None:
    """IN-08: each variant tells what became of one value; the cap is 100."""
    values = {"negative": -5, "zero": 0, "beyond": 101}
    log = Log(variants=[{"id": name} for name in values])
    log.columns(batch([event(variant=name, metrics={"amount": value}) for name, value in values.items()]))
    log.drain()
    kept = {name: log.cell(name, "amount") for name in values}
    check("IN-08", "−5: invalid_value; 0: n 1, Σ 0; 101: n 1, Σ 100; clipped 1",
          f"−5: {log.dead_codes()[0]}; 0: n {kept['zero'].n}, Σ {kept['zero'].total}; "
          f"101: n {kept['beyond'].n}, Σ {kept['beyond'].total // 10**6}; "
          f"clipped {log.state().counters['clipped:amount']}")  # fmt: skip
    assert kept["negative"].n == 0
    assert kept["beyond"].total_sq == 10**4 * 10**12


def test_an_entry_that_says_two_things_is_refused_whole() -> None:
    log = Log()
    log.store._all.entries.append(  # type: ignore[attr-defined]
        Entry(f"{NOW + 1}-0", {b"event": json.dumps(event()).encode(), b"batch": json.dumps(batch([event()])).encode()})
    )
    log.store._all.last_id, log.store._all.added = f"{NOW + 1}-0", log.store._all.added + 1  # type: ignore[attr-defined]
    assert log.drain().folded == 0
    assert log.dead_codes() == ["unknown_entry"]


def test_a_batch_refused_for_one_reason_is_one_letter_however_many_events_it_has() -> None:
    """Each would quote the same entry: ten thousand of them would be forty megabytes of the same text."""
    log = Log()
    log.columns(batch([event(variant="stranger")] * 10_000 + [event()] * 5))
    report = log.drain()
    assert (report.folded, report.dead) == (5, 10_000)
    (letter,) = log.store.dead_letters(10)
    assert (letter.code, letter.n, letter.row) == ("unknown_variant", 10_000, 0)
    assert log.state().counters["dead:unknown_variant"] == 10_000


def test_a_batch_without_units_does_not_switch_off_the_count_of_units() -> None:
    log = Log(unit="unit")
    log.columns(batch([event()]))
    for _ in range(100):
        log.row(event(unit_id="u1"))
    assert log.drain().folded == 1
