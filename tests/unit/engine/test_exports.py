"""The engine's public names."""

from __future__ import annotations

import subprocess
import sys

import trimtab.engine


def test_public_names_are_sorted_and_exist() -> None:
    names = trimtab.engine.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(trimtab.engine, name) for name in names)


def test_scipy_stats_is_never_imported() -> None:
    """It takes seconds, and workers start often."""
    code = "import sys, trimtab.engine; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
