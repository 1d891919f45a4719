"""The bucket rule is a public contract: these tests are what another language would port first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bucket_rule import program, questions
from trimtab.client.bucketing import bucket
from trimtab.layout import initial_ranges, largest_remainder, relayout
from trimtab.schema.allocation import Slice

VECTORS = Path(__file__).parents[3] / "deploy" / "bucket_vectors.json"
MASK = 0xFFFFFFFF
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def murmur3_x86_32(data: bytes) -> int:
    """MurmurHash3 with seed 0, written from its definition, as a second opinion."""

    def scramble(k: int) -> int:
        k = k * 0xCC9E2D51 & MASK
        k = (k << 15 | k >> 17) & MASK
        return k * 0x1B873593 & MASK

    h, whole = 0, len(data) // 4 * 4
    for at in range(0, whole, 4):
        h ^= scramble(int.from_bytes(data[at : at + 4], "little"))
        h = (h << 13 | h >> 19) & MASK
        h = h * 5 + 0xE6546B64 & MASK
    h ^= scramble(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


@given(salt=texts, unit_id=texts)
def test_the_bucket_is_what_the_written_rule_says(salt: str, unit_id: str) -> None:
    assert bucket(salt, unit_id) == murmur3_x86_32(f"{salt}:{unit_id}".encode()) * 1_000_000 >> 32


def test_the_published_vectors_hold() -> None:
    for vector in json.loads(VECTORS.read_text())["vectors"]:
        assert murmur3_x86_32(f"{vector['salt']}:{vector['unit_id']}".encode()) == vector["hash"]
        assert bucket(vector["salt"], vector["unit_id"]) == vector["bucket"]


def test_the_program_on_the_page_of_the_rule_gives_every_bucket() -> None:
    """Those in other languages are run by `tests/node`."""
    names: dict[str, Any] = {}
    exec(program("python"), names)
    assert [names["bucket"](salt, unit) for salt, unit, _ in questions()] == [at for _, _, at in questions()]
    document = {"salt": "s", "ranges": [["a", 0, 947_164], ["b", 947_164, 947_165], ["a", 947_165, 1_000_000]]}
    assert (names["variant"](document, "x"), names["variant"](document, "y")) == ("b", "a")


def test_buckets_of_numbered_users_are_uniform() -> None:
    """χ² over 1,000 cells has mean 999 and sd √(2·999) = 44.7; six sd are passed by chance less than once in 10⁸."""
    units, cells = 200_000, [0] * 1000
    for number in range(units):
        cells[bucket("5f3a9c0de1b2a478", f"user-{number}") // 1000] += 1
    expected = units / len(cells)
    chi_square = sum((count - expected) ** 2 / expected for count in cells)
    assert abs(chi_square - 999) < 6 * 44.7


def test_two_salts_bucket_independently() -> None:
    """χ² over a 10 × 10 table of equal cells has mean 99 and sd √(2·99); six sd above are as good as never passed."""
    units, table = 100_000, [[0] * 10 for _ in range(10)]
    for number in range(units):
        table[bucket("one", f"user-{number}") // 100_000][bucket("two", f"user-{number}") // 100_000] += 1
    chi_square = sum((count - units / 100) ** 2 / (units / 100) for row in table for count in row)
    assert chi_square < 99 + 6 * (2 * 99) ** 0.5


def test_a_change_of_weights_moves_its_total_variation_of_users() -> None:
    """100,000 units at a total variation of .1: 10,000 ± 6 · √(100,000 · .1 · .9) = 570 users change."""
    before = initial_ranges(largest_remainder({"a": 0.5, "b": 0.3, "c": 0.2}))
    after = relayout(before, largest_remainder({"a": 0.4, "b": 0.35, "c": 0.25}))
    buckets = [bucket("salt", f"user-{number}") for number in range(100_000)]
    changed = sum(_owner(before, place) != _owner(after, place) for place in buckets)
    assert abs(changed - 10_000) < 570


def _owner(ranges: tuple[Slice, ...], place: int) -> str:
    return next(variant for variant, start, end in ranges if start <= place < end)
