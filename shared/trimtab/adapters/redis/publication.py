"""The public side in Redis: definitions, allocations, ledgers; every write goes through one script."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from redis import Redis

from trimtab.adapters.redis.scripts import source
from trimtab.adapters.redis.stream import texts
from trimtab.errors import Conflict, CorruptState
from trimtab.ids import new_incarnation
from trimtab.layout import initial_ranges
from trimtab.ports import Publication, PublicationStore, Published
from trimtab.schema import keys
from trimtab.schema.allocation import Allocation
from trimtab.schema.decision import LedgerEntry, ledger_entries
from trimtab.schema.experiment import Experiment, Status
from trimtab.schema.keys import ExperimentKeys

LEDGER_ENTRIES = 10_000


class RedisPublications(PublicationStore):
    """`PublicationStore` over a Redis client that answers in bytes (see `connection.connect`)."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client  # see `stream.RedisLog` on redis-py's annotations
        self._read = client.register_script(source("read"))
        self._publish = client.register_script(source("publish"))
        self._register = client.register_script(source("register"))
        self._tick = client.register_script(source("tick"))

    def create_log(self, partitions: int) -> int:
        self._client.hsetnx(keys.LOG, "partitions", partitions)
        return self.partitions() or partitions

    def partitions(self) -> int | None:
        found = self._client.hget(keys.LOG, "partitions")
        return int(found) if found else None

    def experiments(self) -> list[str]:
        return sorted(name.decode() for name in self._client.smembers(keys.EXPERIMENTS))

    def read(self, experiment_id: str) -> Published | None:
        names = ExperimentKeys(experiment_id)
        fields, document, life = self._read(keys=[names.definition, names.weights])
        if not fields:
            return None
        try:
            return self._published(experiment_id, texts(fields), document, life.decode())
        except (ValueError, LookupError) as error:
            raise CorruptState(
                f"What is published of experiment {experiment_id!r} cannot be read ({type(error).__name__}): run the "
                f"version of Trimtab that wrote it, or bring {names.definition} back from a copy."
            ) from error

    def _published(self, experiment_id: str, text: dict[str, str], document: bytes | None, life: str) -> Published:
        known = text.get("life", "")
        restored = bool(life and known and life != known)
        experiment, status = Experiment.model_validate_json(text["definition"]), Status(text["status"])
        return Published(
            experiment=experiment,
            status=status,
            revision=int(text["revision"]),
            incarnation=new_incarnation() if restored else text["incarnation"],
            allocation=None if status is Status.DRAFT else self._allocation(experiment, text, document),
            decision_id=int(text["decision_id"]),
            repeats=int(text["repeats"]),
            changed_at=int(text["changed_at"]) if text["changed_at"] else None,
            halted=tuple(json.loads(text["halted"])),
            paused=text["paused"],
            claims=text["claims"],
            excused=tuple(json.loads(text["excused"])),
            life=life or known,
            restored=restored,
            epochs_from=int(text.get("epochs_from", 1)),
        )

    def _allocation(self, experiment: Experiment, text: dict[str, str], document: bytes | None) -> Allocation:
        """The allocation in force: what the polled key holds, or, where others took it away or wrote it, the ledger.

        The next publication puts it back. Who owns which buckets stood in the key alone, so units are dealt anew then.
        """
        revision = int(text["revision"])
        with suppress(ValidationError):
            found = Allocation.model_validate_json(document or b"")
            if (found.experiment_id, found.revision) == (experiment.id, revision):
                return found
        entry = self.ledger(experiment.id, 1)[0]
        return Allocation.seal(
            experiment_id=experiment.id,
            incarnation=text["incarnation"],
            revision=revision,
            epoch=entry.epoch,
            weights=entry.parts,
            ranges=initial_ranges(entry.parts),
            salt=experiment.salt,
            status=text["status"],
            control=experiment.control,
            decision_id=entry.decision_id,
            computed_at=entry.decided_at,
            data_until=int(text["data_until"]),
            valid_until=entry.decided_at,
            reason=entry.sentence,
        )

    def publish(self, publication: Publication) -> None:
        names = ExperimentKeys(publication.experiment.id)
        allocation, entry = publication.allocation, publication.entry
        expected = str(publication.expected_revision) if publication.expected_revision else ""
        outcome = self._publish(
            keys=[names.weights, names.definition, names.ledger],
            args=[
                expected,
                allocation.data_until if allocation else "",
                allocation.model_dump_json() if allocation else "",
                json.dumps(_fields(publication)),
                f"{entry.decision_id}-{publication.repeats}" if entry else "",
                entry.model_dump_json() if entry else "",
                "{}-{}".format(*publication.replaces) if publication.replaces else "",
                LEDGER_ENTRIES,
                names.notices,
                publication.life,
            ],
        )
        if outcome != 1:
            reason = "its revision moved on meanwhile" if outcome == -1 else "newer outcomes are published already"
            name = publication.experiment.id
            raise Conflict(f"Experiment {name!r} was not published: {reason}. Read it and try again.")
        self._register(keys=[keys.EXPERIMENTS], args=[publication.experiment.id])

    def ledger(self, experiment_id: str, count: int) -> list[LedgerEntry]:
        entries = self._client.xrevrange(ExperimentKeys(experiment_id).ledger, count=count)
        return [ledger_entries.validate_json(fields[b"entry"]) for _, fields in entries]

    def ledger_entry(self, experiment_id: str, number: int) -> LedgerEntry | None:
        found = self._client.xrange(ExperimentKeys(experiment_id).ledger, min=str(number), max=str(number))
        return ledger_entries.validate_json(found[-1][1][b"entry"]) if found else None

    def claim_tick(self, experiment_id: str, slot: int, seconds: float) -> bool:
        key = ExperimentKeys(experiment_id).tick(slot)
        return bool(self._tick(keys=[key], args=[max(1, int(seconds * 1000))]))


def _fields(publication: Publication) -> list[Any]:
    """The definition hash: names and values in turn, all text."""
    allocation = publication.allocation
    fields = {
        "definition": publication.experiment.model_dump_json(),
        "status": publication.status.value,
        "revision": str(publication.expected_revision + 1),
        "incarnation": allocation.incarnation if allocation else new_incarnation(),
        "decision_id": str(publication.entry.decision_id if publication.entry else 0),
        "repeats": str(publication.repeats),
        "changed_at": "" if publication.changed_at is None else str(publication.changed_at),
        "halted": json.dumps(publication.halted),
        "paused": publication.paused,
        "claims": publication.claims,
        "excused": json.dumps(publication.excused),
        "epochs_from": str(publication.epochs_from),
    }
    return [text for pair in fields.items() for text in pair]
