"""The bucket rule: which of the million buckets a unit falls into. Any language can follow it.

``bucket = (mmh3_x86_32(utf8(salt + ":" + unit_id), seed 0, unsigned) × 1,000,000) >> 32``; test vectors are published
in ``deploy/bucket_vectors.json``.
"""

from __future__ import annotations

import mmh3

from trimtab.schema.base import PARTS


def bucket(salt: str, unit_id: str) -> int:
    """The bucket, 0 … 999,999, of a unit under an experiment's salt: the same on every machine, for ever."""
    return int(mmh3.hash(f"{salt}:{unit_id}".encode(), 0, signed=False)) * PARTS >> 32
