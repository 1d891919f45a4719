"""The bucket rule is a public contract: these tests are what another language would port first."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from bucket_rule import program, questions
from faults.reporting import Check
from trimtab.client.bucketing import bucket
from trimtab.layout import initial_ranges, largest_remainder, relayout
from trimtab.schema.allocation import Slice
from trimtab.schema.base import PARTS

VECTORS = Path(__file__).parents[3] / "deploy" / "bucket_vectors.json"
MASK = 0xFFFFFFFF
Integers = npt.NDArray[np.int64]
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


VARIANTS = "abcd"
WEIGHTS = [
    (0.5, 0.5, 0, 0),
    (0.6, 0.4, 0, 0),
    (0.34, 0.33, 0.33, 0),
    (0.05, 0.9, 0.049, 0.001),
    (0.25, 0.25, 0.25, 0.25),
    (0, 0.125, 0.875, 0),
]
"""Six allocations, one after another."""


def test_a_million_units_are_dealt_by_weight_and_a_change_moves_its_total_variation(check: Check) -> None:
    """FC-06. Units are independent draws of a bucket: of N, a change of total variation t moves N·t, sd √(N·t(1 − t)).

    The units are always the same, so nothing here fails by chance; a fair rule had one chance in 1,000 for each p, and
    one in 15,000 for each of the four sd.
    """
    units = 1_000_000
    buckets = np.array([bucket("5f3a9c0de1b2a478", f"user-{number}") for number in range(units)])
    parts = [largest_remainder(dict(zip(VARIANTS, weights, strict=True))) for weights in WEIGHTS]
    layouts = [initial_ranges(parts[0])]
    for wanted in parts[1:]:
        layouts.append(relayout(layouts[-1], wanted))
    p, off = [chisquare(np.bincount(buckets // 1000, minlength=1000)).pvalue], []
    for ranges, weights in zip(layouts, np.array(WEIGHTS), strict=True):
        dealt = np.bincount(_owners(ranges)[buckets], minlength=len(VARIANTS))
        assert dealt[weights == 0].sum() == 0
        p.append(chisquare(dealt[weights > 0], units * weights[weights > 0]).pvalue)
    for before, after in pairwise(layouts):
        assert _moved(before, after) == _total_variation(before, after), "of the buckets, to the last one"
        t = _total_variation(before, after) / PARTS
        moved = np.count_nonzero(_owners(before)[buckets] != _owners(after)[buckets])
        off.append((moved - units * t) / (units * t * (1 - t)) ** 0.5)
    observed = f"χ² p ≥ {min(p):.3f}, {len(off)} changes within {max(map(abs, off)):.1f} sd of it"
    check("FC-06", "χ² p > .001, 5 changes within 4 sd of their total variation", observed,
          min(p) > 0.001 and len(off) == 5 and max(map(abs, off)) < 4)  # fmt: skip
    assert _moved(layouts[3], initial_ranges(parts[4])) > _total_variation(layouts[3], layouts[4]), "laid out anew"


def test_two_salts_bucket_independently() -> None:
    """χ² over a 10 × 10 table of equal cells has mean 99 and sd √(2·99); six sd above are as good as never passed."""
    units, table = 100_000, [[0] * 10 for _ in range(10)]
    for number in range(units):
        table[bucket("one", f"user-{number}") // 100_000][bucket("two", f"user-{number}") // 100_000] += 1
    chi_square = sum((count - units / 100) ** 2 / (units / 100) for row in table for count in row)
    assert chi_square < 99 + 6 * (2 * 99) ** 0.5


def _owners(ranges: tuple[Slice, ...]) -> Integers:
    """Who owns each bucket, as a place among the variants."""
    return np.repeat([VARIANTS.index(variant) for variant, _, _ in ranges], [end - start for _, start, end in ranges])


def _moved(before: tuple[Slice, ...], after: tuple[Slice, ...]) -> int:
    return int(np.count_nonzero(_owners(before) != _owners(after)))


def _total_variation(before: tuple[Slice, ...], after: tuple[Slice, ...]) -> int:
    """In buckets: half of what all shares change by."""
    shares = (np.bincount(_owners(ranges), minlength=len(VARIANTS)) for ranges in (before, after))
    return int(abs(np.subtract(*shares)).sum() // 2)
