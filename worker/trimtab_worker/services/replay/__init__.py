"""Import of a real log: the rows of a CSV or Parquet file as outcome batches in an experiment's partition.

Two passes over the file. `examine` reads everything and sends nothing, so that a wrong column or an unknown variant is
found before the first event leaves; `send` reads again and appends batches. The cut into batches depends on nothing
but the file and the mapping, and the producer id is a digest of both: a second run sends nothing that was folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from trimtab.errors import IllegalTransition, InvalidInput
from trimtab.ports import PartitionStore, Published
from trimtab.schema.base import canonical_json
from trimtab.schema.event import BATCH_FIELD, MAX_BATCH_BYTES
from trimtab.schema.experiment import Experiment, Status
from trimtab_worker.services.replay.columns import Rows, rows_of
from trimtab_worker.services.replay.files import frames
from trimtab_worker.services.replay.mapping import Mapping
from trimtab_worker.services.replay.survey import Skipped, Survey

__all__ = ["Mapping", "Plan", "Replayed", "Skipped", "examine", "send"]

ROWS_PER_BATCH = 5_000
"""Part of what makes a replay restartable: another cut would give the same numbers to other rows. Never change it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A file that was read once and can be sent."""

    path: Path
    experiment: Experiment
    mapping: Mapping
    digest: str
    rows: int
    usable: int
    skipped: tuple[Skipped, ...]

    @property
    def producer(self) -> str:
        """The same for the same bytes, mapping and experiment, and for nothing else."""
        mapping = {name: getattr(self.mapping, name) for name in Mapping.__slots__}
        what = {"file": self.digest, "mapping": mapping, "experiment": self.experiment.id}
        return "import-" + sha256(canonical_json(what)).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: rows sent now, rows that an earlier run had brought, batches in all."""

    sent: int
    known: int
    batches: int


Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all, or 0 where that is not known yet)."""


def examine(path: Path, mapping: Mapping, published: Published, progress: Progress | None = None) -> Plan:
    """Read the whole file and send nothing.

    Raises:
        InvalidInput: no such file or column, a metric the experiment has not, or variants it has not (with counts).
        IllegalTransition: the experiment takes no outcomes at present, so that every row would become a dead letter.
    """
    experiment = published.experiment
    _check_open(published)
    _check_metrics(mapping, experiment)
    survey = Survey()
    digest = _digest(path)
    for rows in _read(path, mapping, experiment, digest):
        survey.add(rows)
        if progress:
            progress(survey.rows, 0)
    survey.check(path, mapping, published)
    return Plan(path, experiment, mapping, digest, survey.rows, survey.usable, tuple(survey.skipped()))


def send(plan: Plan, log: PartitionStore, progress: Progress | None = None) -> Replayed:
    """Append every batch of `plan` that the fold has not counted yet, in order."""
    known_producer = log.load().producers.get(plan.producer)
    counted = known_producer.sequence if known_producer else 0
    now = log.now()
    sent = known = sequence = done = 0
    for rows, batches in _chunks(plan, now):
        for batch in batches:
            sequence += 1
            n = batch["n"]
            if sequence <= counted:
                known += n
                continue
            log.append(BATCH_FIELD, _encode(batch, sequence))
            sent += n
        done += rows
        if progress:
            progress(done, plan.rows)
    return Replayed(sent, known, sequence)


def _chunks(plan: Plan, now: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each piece of the file: how many rows it has, and its batches without their number."""
    head = {"v": 1, "experiment_id": plan.experiment.id, "origin": "import", "producer": plan.producer, "sent_at": now}
    for rows in _read(plan.path, plan.mapping, plan.experiment, plan.digest):
        whole = [{**head, **columns} for columns in _by_epoch(rows, now)]
        yield rows.n, [piece for batch in whole for piece in _fitting(batch)]


def _read(path: Path, mapping: Mapping, experiment: Experiment, digest: str) -> Iterator[Rows]:
    first = 1
    for frame in frames(path, mapping.columns, ROWS_PER_BATCH):
        yield rows_of(frame, mapping, experiment, first, digest[:8])
        first += len(frame)


def _by_epoch(rows: Rows, now: int) -> Iterator[dict[str, Any]]:
    """A batch has one epoch: the usable rows of each, in the order in which the epochs first appear."""
    for epoch, chosen in rows.epochs():
        if not len(chosen):
            continue
        columns: dict[str, Any] = {"n": len(chosen), **rows.columns(chosen, now)}
        yield columns if epoch is None else {"epoch": epoch, **columns}


_PER_ROW = ("variant", "offsets", "unit_id")


def _fitting(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The batch, or its halves where long unit ids make it larger than an entry may be."""
    # 64 bytes of room for the sequence, so that a number with more digits never cuts differently.
    if len(_encode(batch, 1)) + 64 <= MAX_BATCH_BYTES:
        yield batch
        return
    half = batch["n"] // 2
    for part in (slice(0, half), slice(half, None)):
        piece = {**batch, **{name: batch[name][part] for name in _PER_ROW if name in batch}}
        piece["metrics"] = {name: column[part] for name, column in batch["metrics"].items()}
        piece["n"] = len(piece["variant"])
        yield from _fitting(piece)


def _encode(batch: dict[str, Any], sequence: int) -> bytes:
    return orjson.dumps({**batch, "sequence": sequence})


def _check_open(published: Published) -> None:
    if published.status not in (Status.RUNNING, Status.HELD):
        name = published.experiment.id
        then = f"; run: trimtab experiment start {name}" if published.status is Status.DRAFT else ""
        raise IllegalTransition(f"Experiment {name!r} is {published.status} and takes no outcomes{then}.")


def _check_metrics(mapping: Mapping, experiment: Experiment) -> None:
    names = [metric.name for metric in experiment.metrics]
    for name in mapping.metrics:
        if name not in names:
            raise InvalidInput(f"Experiment {experiment.id!r} has no metric {name!r}; it has {', '.join(names)}.")
    if not mapping.metrics:
        raise InvalidInput("A replay needs at least one metric: give --metric NAME=COLUMN.")


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            digest = sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()
