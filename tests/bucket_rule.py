"""The programs on the page of the bucket rule, and the questions that each of them is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

from trimtab.client.bucketing import bucket

_DEPLOY = Path(__file__).parents[1] / "deploy"
_ASTRAL = ["🛟", "e\u0301", "\u00e9", "a\u0000b", "日本", "\ufeffx"]


def program(language: str) -> str:
    """The page's only block in that language."""
    page = (_DEPLOY / "bucket_rule.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return str(block)


def questions() -> list[tuple[str, str, int]]:
    """Salt, unit id and bucket: the published vectors, then units of every length and script, as our client has it."""
    vectors = json.loads((_DEPLOY / "bucket_vectors.json").read_text(encoding="utf-8"))["vectors"]
    published = [(vector["salt"], vector["unit_id"], vector["bucket"]) for vector in vectors]
    texts = [f"user-{number}" for number in range(500)] + ["x" * length for length in range(1, 70)]
    texts += [f"{prefix}{text}" for text in _ASTRAL for prefix in ("", "u", "un", "uni")]
    return published + [("5f3a9c0de1b2a478", text, bucket("5f3a9c0de1b2a478", text)) for text in texts]
