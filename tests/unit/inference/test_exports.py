"""The public names of inference."""

from __future__ import annotations

import subprocess
import sys

import trimtab.inference


def test_public_names_are_sorted_and_exist() -> None:
    names = trimtab.inference.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper() or name == "ABResult", name))
    assert all(hasattr(trimtab.inference, name) for name in names)


def test_neither_scipy_stats_nor_the_engine_is_imported() -> None:
    """scipy.stats takes seconds; the engine is handed in, so that the two can be replaced apart."""
    code = "import sys, trimtab.inference; sys.exit('scipy.stats' in sys.modules or 'trimtab.engine' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
