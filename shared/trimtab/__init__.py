"""Trimtab: guarded, explainable traffic allocation, driven by outcome events.

::

    producer ─► event log ─► fold ─► statistics ─► posterior ─► proposal ─► guardrails ─► decision ─► publication
    client/     adapters/    fold/   └───────────────── engine/ ────────────────────────────────┘     succession

Names are loaded when they are first used, so `import trimtab` costs a client nothing it does not need; the engine
(`Engine`, `Observation`, …) needs the extra `engine`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.client.control import Control
    from trimtab.client.flags import Assignment, AsyncFlagClient, FlagClient
    from trimtab.client.publisher import AsyncPublisher, Publisher
    from trimtab.engine import AllocationResult, Engine, Moments, Observation
    from trimtab.errors import TrimtabError
    from trimtab.schema.allocation import Allocation
    from trimtab.schema.constraints import Constraints
    from trimtab.schema.event import OutcomeEvent
    from trimtab.schema.experiment import Experiment

_HOME = {
    "Allocation": "trimtab.schema.allocation",
    "AllocationResult": "trimtab.engine",
    "Assignment": "trimtab.client.flags",
    "AsyncFlagClient": "trimtab.client.flags",
    "AsyncPublisher": "trimtab.client.publisher",
    "Constraints": "trimtab.schema.constraints",
    "Control": "trimtab.client.control",
    "Engine": "trimtab.engine",
    "Experiment": "trimtab.schema.experiment",
    "FlagClient": "trimtab.client.flags",
    "Moments": "trimtab.engine",
    "Observation": "trimtab.engine",
    "OutcomeEvent": "trimtab.schema.event",
    "Publisher": "trimtab.client.publisher",
    "TrimtabError": "trimtab.errors",
}

__all__ = [
    "Allocation",
    "AllocationResult",
    "Assignment",
    "AsyncFlagClient",
    "AsyncPublisher",
    "Constraints",
    "Control",
    "Engine",
    "Experiment",
    "FlagClient",
    "Moments",
    "Observation",
    "OutcomeEvent",
    "Publisher",
    "TrimtabError",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'trimtab' has no attribute {name!r}; it has {', '.join(__all__)}")
    if home == "trimtab.engine":
        from trimtab.errors import require

        require("numpy", extra="engine")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
