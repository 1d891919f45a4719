"""ConfigCat's config JSON, version 6: percentage options in whole percent.

ConfigCat hashes the flag's key and the user, no salt: a flag keeps its split for as long as it keeps its key.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.exporters.form import Document, Format, segments_of, sizes
from trimtab.exporters.placement import Placement, Segments

RESOLUTION = 100
_TEXT = 1  # the setting type "string"


def write(placements: Sequence[Placement]) -> Document:
    # Address, redirect mode and the salt of confidential comparisons, which our flags have none of: SDKs want them.
    preferences = {"u": "https://cdn-global.configcat.com", "r": 0, "s": b64encode(b"trimtab").decode()}
    settings = {placement.allocation.experiment_id: _setting(placement) for placement in placements}
    return {"p": preferences, "f": settings}


def _setting(placement: Placement) -> Document:
    setting: Document = {"t": _TEXT, **_served(placement.default)}
    if placement.concluded is None:
        setting["p"] = [{"p": size, **_served(variant)} for variant, size in sizes(placement)]
    return setting


def _served(variant: str) -> Document:
    return {"v": {"s": variant}, "i": variant}


def read(document: Mapping[str, Any]) -> dict[str, Segments]:
    return {key: _segments(setting) for key, setting in document["f"].items()}


def _segments(setting: Mapping[str, Any]) -> Segments:
    options = setting.get("p") or [{"p": RESOLUTION, "v": setting["v"]}]
    return segments_of((option["v"]["s"], option["p"]) for option in options)


CONFIGCAT = Format("configcat", RESOLUTION, write, read)
