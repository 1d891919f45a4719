"""How large the checks are: `TRIMTAB_FAULTS=full` takes the sizes of their table, else they are reduced."""

from __future__ import annotations

import os

FULL = os.environ.get("TRIMTAB_FAULTS") == "full"
