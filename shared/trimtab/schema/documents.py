"""JSON Schemas of everything that crosses a process border, generated from the models.

`python -m trimtab.schema.documents DIRECTORY` writes them; a test keeps the committed ones in step.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from trimtab.schema.allocation import Allocation
from trimtab.schema.constraints import Constraints
from trimtab.schema.control import ControlEntry
from trimtab.schema.dead_letter import DeadLetter
from trimtab.schema.decision import LedgerEntry
from trimtab.schema.event import EventBatch, OutcomeEvent
from trimtab.schema.experiment import Experiment
from trimtab.schema.serving import ServingClient

_DOCUMENTS: dict[str, Any] = {
    "allocation": Allocation,
    "constraints": Constraints,
    "control_entry": ControlEntry,
    "dead_letter": DeadLetter,
    "event_batch": EventBatch,
    "experiment": Experiment,
    "ledger_entry": LedgerEntry,
    "outcome_event": OutcomeEvent,
    "serving_client": ServingClient,
}


def documents() -> dict[str, str]:
    """File name → JSON Schema, as it is written."""
    return {
        f"{name}.schema.json": json.dumps(TypeAdapter(model).json_schema(), indent=2, ensure_ascii=False) + "\n"
        for name, model in _DOCUMENTS.items()
    }


def write(directory: Path) -> None:
    """Write all schemas into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (directory / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
