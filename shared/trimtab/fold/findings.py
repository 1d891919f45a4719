"""What a survey of log entries finds, gathered while it walks."""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.fold.accept import Accepted
from trimtab.fold.state import ExperimentState, PartitionState
from trimtab.schema.dead_letter import DeadLetter


@dataclass(slots=True)
class Findings:
    """What the entries come to before duplicates are known: the state moved on, events accepted, the rest refused."""

    state: PartitionState
    start: PartitionState
    accepted: dict[str, list[Accepted]] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # experiments whose state is already a copy
    redefined: set[str] = field(default_factory=set)  # experiments whose head changed
    regrouped: set[str] = field(default_factory=set)  # experiments whose cells were compacted
    closed: set[str] = field(default_factory=set)  # experiments that take no more outcomes
    numbered: set[str] = field(default_factory=set)  # producers whose sequence moved

    def experiment(self, experiment_id: str) -> ExperimentState | None:
        return self.state.experiments.get(experiment_id)

    def own(self, experiment_id: str) -> ExperimentState | None:
        """The experiment's state, as a copy that this survey may change."""
        current = self.experiment(experiment_id)
        if current is not None and experiment_id not in self.touched:
            self.touched.add(experiment_id)
            current = self.state.experiments[experiment_id] = current.copy()
        return current
