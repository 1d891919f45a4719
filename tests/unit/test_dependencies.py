"""SE-14: what is installed is what was pinned, and where it comes from is for each installation to say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from faults.reporting import Check

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "deploy/constraints.txt").read_text(encoding="utf-8").splitlines()
_ADDRESS = re.compile(
    r'https?://[^\s"\'`]*(?:pypi|pythonhosted|npmjs|registry|/simple\b)|--(?:extra-)?index-url|"resolved"\s*:'
)


def test_constraints_hold_versions_and_nothing_else() -> None:
    for line in LINES:
        assert line.startswith("#") or (line.count("==") == 1 and not set(line) & set("@/ ;")), line


def test_all_that_is_installed_with_us_is_pinned_and_no_registry_is_named(check: Check) -> None:
    """Down to the last dependency of a dependency, with every extra. Hashes and an audit would need the network."""
    pins = {canonicalize_name(name): pinned for name, _, pinned in (line.partition("==") for line in LINES)}
    names = needed("trimtab[dev]")
    as_pinned = [name for name in names if pins.get(name) == version(name)]
    addresses = [str(path.relative_to(ROOT)) for path in files() if _ADDRESS.search(path.read_text(errors="ignore"))]
    assert len(names) > 50
    check("SE-14", f"{len(names)} of {len(names)} packages as pinned, addresses of registries in []",
          f"{len(as_pinned)} of {len(names)} packages as pinned, addresses of registries in {addresses}")  # fmt: skip


def needed(wanted: str) -> set[str]:
    """Names of all that a requirement brings with it on this machine, itself left out."""
    found, open_ = set[tuple[str, str]](), [Requirement(wanted)]
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in found:
                found.add((name, extra))
                further = map(Requirement, distribution(name).requires or ())
                open_ += [each for each in further if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in found} - {"trimtab"}


def files() -> Iterator[Path]:
    """What the repository holds, without what is built or installed beside it."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in ("deploy", "shared", "tests", "worker"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not {"node_modules", "__pycache__"} & set(path.parts):
                yield path
