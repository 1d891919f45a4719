"""What every `PublicationStore` does, whichever it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from logs import definition
from trimtab.adapters.memory import MemoryPartition
from trimtab.client.control import Control
from trimtab.errors import Conflict
from trimtab.ports import Publication, PublicationStore
from trimtab.schema.experiment import Experiment, Status


def controlled(publications: PublicationStore) -> Control:
    log = MemoryPartition()
    return Control.over(publications, lambda _: log, by="tester")


def test_the_number_of_partitions_is_fixed_at_creation(publications: PublicationStore) -> None:
    assert publications.partitions() is None
    assert publications.create_log(3) == 3
    assert publications.create_log(8) == 3
    assert publications.partitions() == 3


def test_what_was_published_is_read_back(publications: PublicationStore) -> None:
    control = controlled(publications)
    control.create(definition())
    draft = publications.read("checkout")
    assert draft is not None
    assert (draft.status, draft.allocation, draft.revision) == (Status.DRAFT, None, 1)
    control.start("checkout")
    control.hold("checkout", reason="lunch")
    held = publications.read("checkout")
    assert held is not None
    assert held.allocation is not None
    assert (held.status, held.paused, held.revision, held.decision_id) == (Status.HELD, "lunch", 3, 2)
    assert held.allocation.revision == 3
    assert held.incarnation == held.allocation.incarnation
    assert publications.experiments() == ["checkout"]
    assert publications.read("nobody") is None


def test_a_publication_from_an_old_revision_is_refused_whole(publications: PublicationStore) -> None:
    control = controlled(publications)
    control.create(definition())
    control.start("checkout")
    before = publications.read("checkout")
    late = Publication(Experiment.parse(definition()), Status.STOPPED, expected_revision=1, allocation=None)
    with pytest.raises(Conflict, match="revision moved on"):
        publications.publish(late)
    with pytest.raises(Conflict):
        publications.publish(Publication(Experiment.parse(definition()), Status.DRAFT, 0, allocation=None))
    assert publications.read("checkout") == before


def test_older_outcomes_never_replace_newer_ones(publications: PublicationStore) -> None:
    """A slow recompute that read its data before another published must not win, even with the right revision."""
    control = controlled(publications)
    control.create(definition())
    control.start("checkout")
    current = publications.read("checkout")
    assert current is not None
    assert current.allocation is not None

    def resealed(revision: int, data_until: int) -> Publication:
        fields = current.allocation.model_dump(exclude={"digest"})  # type: ignore[union-attr]
        allocation = type(current.allocation).seal(**(fields | {"revision": revision, "data_until": data_until}))  # type: ignore[union-attr]
        return Publication(current.experiment, current.status, revision - 1, allocation)

    publications.publish(resealed(3, data_until=5000))
    with pytest.raises(Conflict, match="newer outcomes"):
        publications.publish(resealed(4, data_until=4999))


def test_what_was_read_in_one_life_of_the_server_is_not_published_in_another(publications: PublicationStore) -> None:
    control = controlled(publications)
    control.create(definition())
    control.start("checkout")
    read = publications.read("checkout")
    assert read is not None
    assert read.life
    assert not read.restored
    elsewhere = Publication(read.experiment, read.status, read.revision, allocation=None, life="0" * 40)
    with pytest.raises(Conflict):
        publications.publish(elsewhere)
    publications.publish(replace(elsewhere, life=read.life))


def test_the_ledger_keeps_entries_by_number_newest_first(publications: PublicationStore) -> None:
    control = controlled(publications)
    control.create(definition())
    control.start("checkout")
    for reason in ("a", "b", "c"):
        control.hold("checkout", reason=reason)
        control.resume("checkout")
    entries = publications.ledger("checkout", 100)
    assert [entry.decision_id for entry in entries] == [7, 6, 5, 4, 3, 2, 1]
    assert [entry.decision_id for entry in publications.ledger("checkout", 2)] == [7, 6]
    assert publications.ledger_entry("checkout", 2) == entries[-2]
    assert publications.ledger_entry("checkout", 99) is None


def test_a_tick_is_claimed_once(publications: PublicationStore) -> None:
    assert publications.claim_tick("x", 7, 10)
    assert not publications.claim_tick("x", 7, 10)
    assert publications.claim_tick("x", 8, 10)
