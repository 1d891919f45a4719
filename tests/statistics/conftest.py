"""Makes `worlds` importable: this folder cannot be a package, for it would hide the standard library's `statistics`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
