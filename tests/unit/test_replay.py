"""Import of files: exact counts, nothing twice, and every fault said before the first event leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from trimtab.adapters.memory import MemoryPartition
from trimtab.errors import IllegalTransition, InvalidInput
from trimtab.fold import PartitionState
from trimtab.layout import initial_ranges, largest_remainder
from trimtab.ports import Published
from trimtab.schema.allocation import Allocation
from trimtab.schema.control import Define, EpochStart, StatusChange
from trimtab.schema.event import CONTROL_FIELD, EventBatch
from trimtab.schema.experiment import Experiment, Status
from trimtab_worker.services import replay
from trimtab_worker.services.ingest import Ingest

NOW = 1_800_000_000_000
MAPPING = replay.Mapping(variant="arm", metrics={"bought": "y"})


def experiment(**changes: object) -> Experiment:
    return Experiment.parse(
        {
            "id": "shop",
            "variants": [{"id": "0"}, {"id": "1"}],
            "metrics": [
                {"name": "bought", "kind": "binary", "primary": True},
                {"name": "paid", "kind": "revenue"},
            ],
            **changes,
        }
    )


def published(definition: Experiment, status: Status = Status.RUNNING) -> Published:
    weights = largest_remainder(definition.initial_weights)
    allocation = Allocation.seal(
        experiment_id=definition.id, incarnation="i", revision=1, epoch=1, weights=weights,
        ranges=initial_ranges(weights), salt=definition.salt, status=status, control=definition.control, decision_id=1,
        computed_at=NOW, data_until=NOW, valid_until=None, reason="start",
    )  # fmt: skip
    return Published(experiment=definition, status=status, revision=1, allocation=allocation)


def running_log(definition: Experiment) -> MemoryPartition:
    """A log in which the experiment was started and has seen nothing yet."""
    log = MemoryPartition(clock=lambda: NOW)
    parts = largest_remainder(definition.initial_weights)
    for order in (
        Define(at=NOW, experiment=definition),
        StatusChange(at=NOW, experiment_id=definition.id, status=Status.RUNNING),
        EpochStart(at=NOW, experiment_id=definition.id, epoch=1, parts=parts),
    ):
        log.append(CONTROL_FIELD, order.model_dump_json().encode())
    return log


def fold(log: MemoryPartition) -> PartitionState:
    """Fold everything unread and return the state with its experiments."""
    Ingest(log).drain(holder="test")
    state = log.load()
    state.experiments = log.load_experiments(log.experiments())
    return state


def cells(log: MemoryPartition, metric: str = "bought") -> dict[str, tuple[int, int]]:
    owner = fold(log).experiments["shop"]
    assert owner is not None
    return {variant: (cell.n, cell.total) for (_, variant, name), cell in owner.cells.items() if name == metric}


def batches(log: MemoryPartition) -> list[EventBatch]:
    entries = log.read("0-0", 100_000)
    return [EventBatch.model_validate_json(e.fields[b"batch"]) for e in entries if b"batch" in e.fields]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_rows_with_missing_values_are_left_out_and_named(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y\n0.0,1.0\n1.0,\n,1\n1,0\n1.0,1\n,\n")
    plan = replay.examine(file, MAPPING, published(experiment()))
    assert (plan.rows, plan.usable) == (6, 3)
    assert [(s.reason, s.n, s.first_row, s.fault) for s in plan.skipped] == [
        ("arm is missing", 2, 3, False),
        ("y is missing", 1, 2, False),
    ]
    log = running_log(experiment())
    assert replay.send(plan, log) == replay.Replayed(sent=3, known=0, batches=1)
    assert cells(log) == {"0": (1, 1), "1": (2, 1)}


def test_a_second_run_sends_nothing_that_was_folded(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y\n" + "0,1\n1,0\n" * 6_000)
    log = running_log(experiment())
    plan = replay.examine(file, MAPPING, published(experiment()))
    assert replay.send(plan, log).batches == 3
    first = cells(log)
    again = replay.send(replay.examine(file, MAPPING, published(experiment())), log)
    assert (again.sent, again.known) == (0, 12_000)
    assert cells(log) == first == {"0": (6_000, 6_000), "1": (6_000, 0)}


def test_a_run_cut_short_goes_on_where_the_fold_stands(tmp_path: Path) -> None:
    """Law: any prefix of the batches, then the whole again, counts every row once, folded in between or not."""
    file = write(tmp_path / "log.csv", "arm,y\n" + "0,1\n1,0\n" * 6_000)
    plan = replay.examine(file, MAPPING, published(experiment()))
    whole = running_log(experiment())
    replay.send(plan, whole)
    payloads = [e.fields[b"batch"] for e in whole.read("0-0", 100) if b"batch" in e.fields]
    for folded_in_between in (True, False):
        log = running_log(experiment())
        for payload in payloads[:2]:
            log.append("batch", payload)
        if folded_in_between:
            fold(log)
        replay.send(plan, log)
        assert cells(log) == {"0": (6_000, 6_000), "1": (6_000, 0)}


def test_another_mapping_file_or_experiment_is_another_producer(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "arm,y,z\n0,1,1\n")
    other = write(tmp_path / "b.csv", "arm,y,z\n0,1,0\n")
    plans = [
        replay.examine(file, MAPPING, published(experiment())),
        replay.examine(other, MAPPING, published(experiment())),
        replay.examine(file, replay.Mapping(variant="arm", metrics={"bought": "z"}), published(experiment())),
        replay.examine(file, MAPPING, published(experiment(id="shop2"))),
    ]
    assert len({plan.producer for plan in plans}) == 4
    copy = write(tmp_path / "copy.csv", file.read_text())
    assert replay.examine(copy, MAPPING, published(experiment())).producer == plans[0].producer


def test_unknown_variants_are_listed_with_counts_and_nothing_is_sent(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y\nred,1\nblue,0\nred,1\n0,1\n")
    with pytest.raises(InvalidInput, match=r"'red' \(2 rows\), 'blue' \(1 rows\).*--map-variant"):
        replay.examine(file, MAPPING, published(experiment()))
    mapped = replay.Mapping(variant="arm", metrics={"bought": "y"}, variants={"red": "1", "blue": "0"})
    assert replay.examine(file, mapped, published(experiment())).usable == 4


def test_an_unknown_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "group,y\n0,1\n")
    with pytest.raises(InvalidInput, match="no column 'arm'; it has group, y"):
        replay.examine(file, MAPPING, published(experiment()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not a readable CSV file"),
        ("arm,y\n", "has no rows"),
        ("arm,y\n0,1\n0,1,2,3\n", "not a readable CSV file: .*line 3"),
        ("arm,y\n0,1,2,3\n0,1\n", "not a readable CSV file"),
    ],
)
def test_a_file_that_is_no_log_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = write(tmp_path / "log.csv", text)
    with pytest.raises(InvalidInput, match=sentence):
        replay.examine(file, MAPPING, published(experiment()))


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        replay.examine(tmp_path / "absent.csv", MAPPING, published(experiment()))


@pytest.mark.parametrize("status", [Status.DRAFT, Status.STOPPED, Status.CONCLUDED])
def test_an_experiment_that_takes_no_outcomes_is_not_sent_any(tmp_path: Path, status: Status) -> None:
    """Refused rows would use up their numbers: the same file could never be imported later."""
    file = write(tmp_path / "log.csv", "arm,y\n0,1\n")
    with pytest.raises(IllegalTransition, match="takes no outcomes"):
        replay.examine(file, MAPPING, published(experiment(), status))


def test_values_the_metric_cannot_have_are_faults_with_their_first_row(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y,eur\n0,1,3.5\n1,2,1\n1,maybe,1\n1,true,inf\n0,no,-3\n0,1,1e300\n")
    mapping = replay.Mapping(variant="arm", metrics={"bought": "y", "paid": "eur"})
    plan = replay.examine(file, mapping, published(experiment()))
    assert plan.usable == 1
    assert {(s.reason, s.first_row) for s in plan.skipped if s.fault} == {
        ("y is no value of a binary metric", 2),
        ("y is no finite number", 3),
        ("eur is no finite number", 4),
        ("eur is no value of a revenue metric", 5),
    }
    log = running_log(experiment())
    replay.send(plan, log)
    fold(log)
    assert log.dead_letters(10) == []


def test_parquet_and_csv_of_the_same_table_give_the_same_cells(tmp_path: Path) -> None:
    frame = pd.DataFrame({"arm": [0.0, 1.0, None, 1.0] * 4_000, "y": [1.0, 0.0, 1.0, 1.0] * 4_000})
    frame.to_csv(tmp_path / "log.csv", index=False)
    frame.to_parquet(tmp_path / "log.parquet", row_group_size=777)
    found = []
    for name in ("log.csv", "log.parquet"):
        log = running_log(experiment())
        replay.send(replay.examine(tmp_path / name, MAPPING, published(experiment())), log)
        found.append(([(b.n, b.variant, b.metrics) for b in batches(log)], cells(log)))
    assert found[0] == found[1]
    assert found[0][1] == {"0": (4_000, 4_000), "1": (8_000, 4_000)}


def test_units_times_and_epochs_come_from_their_columns(tmp_path: Path) -> None:
    rows = """\
arm,y,who,at,e
0,1,007,2020-01-01T00:00:00Z,1
1,0,ann,1577836801,1
1,1,bob,1577836802500,1
0,0,eve,2020-01-01 02:00:00+01:00,1
0,0,,2020-01-01,1
0,0,zoe,soon,1
0,0,kim,2020-01-01,x
"""
    file = write(tmp_path / "log.csv", rows)
    mapping = replay.Mapping(variant="arm", metrics={"bought": "y"}, unit="who", time="at", epoch="e")
    log = running_log(experiment())
    plan = replay.examine(file, mapping, published(experiment()))
    replay.send(plan, log)
    (batch,) = batches(log)
    assert batch.unit_id == ["007", "ann", "bob", "eve"]
    assert [batch.base + offset for offset in batch.offsets or []] == [
        1577836800000, 1577836801000, 1577836802500, 1577840400000]  # fmt: skip
    assert (batch.epoch, batch.origin) == (1, "import")
    assert {(s.reason, s.fault) for s in plan.skipped} == {
        ("who is missing", False),
        ("at is no instant from 1970 on", True),
        ("e is no epoch", True),
    }
    assert cells(log) == {"0": (2, 1), "1": (2, 1)}


def test_an_epoch_the_experiment_has_not_reached_is_refused_beforehand(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y,e\n0,1,1\n0,1,7\n")
    mapping = replay.Mapping(variant="arm", metrics={"bought": "y"}, epoch="e")
    with pytest.raises(InvalidInput, match="names epoch 7; experiment 'shop' is at epoch 1"):
        replay.examine(file, mapping, published(experiment()))


def test_long_unit_ids_are_cut_into_entries_that_fit(tmp_path: Path) -> None:
    lines = [f"0,1,{'x' * 245}{row:06}" for row in range(5_000)]
    file = write(tmp_path / "log.csv", "arm,y,who\n" + "\n".join(lines))
    log = running_log(experiment())
    mapping = replay.Mapping(variant="arm", metrics={"bought": "y"}, unit="who")
    assert replay.send(replay.examine(file, mapping, published(experiment())), log).batches == 2
    assert max(len(e.fields.get(b"batch", b"")) for e in log.read("0-0", 100)) <= 1024 * 1024
    assert cells(log) == {"0": (5_000, 5_000)}


def test_a_batch_names_an_id_that_the_schema_admits(tmp_path: Path) -> None:
    file = write(tmp_path / "log.csv", "arm,y\n0,1\n")
    log = running_log(experiment())
    plan = replay.examine(file, MAPPING, published(experiment()))
    replay.send(plan, log)
    (batch,) = batches(log)
    assert batch.producer == plan.producer
    assert batch.unit_id == [f"{plan.digest[:8]}-1"]
    assert json.loads(log.read("0-0", 9)[-1].fields[b"batch"])["metrics"] == {"bought": [1]}
