"""Which allocation is accepted, and what a table built from it answers."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_allocations import NOW, allocation, document
from trimtab.client._assignments import MAX_DOCUMENT_BYTES, Reason, Table, aged, intake, missing, table_of
from trimtab.schema.base import PARTS

EMPTY = missing(Reason.NOT_READY)


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 9), min_size=1), st.integers(0, PARTS - 1))
def test_a_bucket_gets_the_variant_whose_slice_holds_it(tickets: dict[str, int], bucket: int) -> None:
    given_allocation = allocation(shares={v: n / sum(tickets.values()) for v, n in tickets.items()}, epoch=4)
    table = table_of(given_allocation)
    answer = table.answers[bisect_right(table.ends, bucket)]
    (owner,) = [variant for variant, start, end in given_allocation.ranges if start <= bucket < end]
    assert answer == (owner, 4, given_allocation.weights[owner] / PARTS, Reason.SPLIT, 1)


@given(st.lists(st.tuples(st.sampled_from(["one", "two"]), st.integers(1, 4)), max_size=12))
def test_within_an_incarnation_only_higher_revisions_are_accepted(documents: list[tuple[str, int]]) -> None:
    """Any sequence of documents: never backwards within an incarnation, every document is counted exactly once."""
    table, total = EMPTY, 0
    for incarnation, revision in documents:
        before = table.allocation
        table, counts = intake("checkout", table, document(revision, incarnation=incarnation))
        after = table.allocation
        assert after is not None
        if before is not None and after.incarnation == before.incarnation:
            assert after.revision == max(before.revision, revision if incarnation == before.incarnation else 0)
        assert counts.get("new_incarnations", 0) == int(before is not None and before.incarnation != incarnation)
        total += counts.get("accepted", 0) + counts.get("ignored_backward", 0)
    assert total == len(documents)


@pytest.mark.parametrize("held", [EMPTY, table_of(allocation(1))], ids=["nothing held", "one held"])
@pytest.mark.parametrize(
    "raw",
    [
        document(2)[:-9],
        document(2).replace(b"500000", b"499999", 1),
        document(2).replace(b'"revision":2', b'"revision":3'),
        document(2).replace(b'"v":1', b'"v":2'),
        document(2, experiment_id="other"),
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
        document(2) + b" " * MAX_DOCUMENT_BYTES,
    ],
    ids=["cut", "sum", "digest", "version", "other experiment", "deep", "not UTF-8", "empty", "large"],
)
def test_a_damaged_document_is_ignored_and_counted(held: Table, raw: bytes) -> None:
    assert intake("checkout", held, raw) == (held, {"ignored_damaged": 1})


def test_a_key_that_is_gone_leaves_what_is_held() -> None:
    held = table_of(allocation(1))
    assert intake("checkout", held, None) == (held, {"ignored_missing": 1})
    assert intake("checkout", EMPTY, None) == (missing(Reason.DEFAULT), {})


def test_an_allocation_grows_stale_after_its_time_and_a_grace_and_is_served_on() -> None:
    table = table_of(allocation(valid_until=NOW))
    assert aged(table, NOW + 5, grace=5) is table
    old = aged(table, NOW + 6, grace=5)
    assert {answer.reason for answer in old.answers} == {Reason.STALE}
    assert [answer.variant for answer in old.answers] == [answer.variant for answer in table.answers]
    assert aged(old, NOW, grace=5) == table
    assert aged(EMPTY, NOW, grace=5) is EMPTY


def test_an_allocation_without_an_end_is_never_stale() -> None:
    table = table_of(allocation(valid_until=None))
    assert aged(table, 2 * NOW, grace=0) is table
