"""Control entries: what the fold must know beside outcomes, written to the same log before it takes effect.

They carry the instant `at` at which they were written; it moves the log's clock, which outcomes alone move only a
bounded step at a time.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from trimtab.clock import Instant
from trimtab.ids import ExperimentId, VariantId
from trimtab.schema.base import SCHEMA_VERSION, Schema
from trimtab.schema.event import Epoch
from trimtab.schema.experiment import Experiment, Status


class _ControlEntry(Schema):
    v: Literal[1] = SCHEMA_VERSION
    at: Instant


class Define(_ControlEntry):
    """An experiment begins to exist, or its definition changes."""

    kind: Literal["define"] = "define"
    experiment: Experiment
    revision: Annotated[int, Field(ge=0)] = Field(
        0, description="The one it was written to be published under; 0 where that is not said."
    )


class EpochStart(_ControlEntry):
    """New weights are about to be published under a new epoch."""

    kind: Literal["epoch"] = "epoch"
    experiment_id: ExperimentId
    epoch: Epoch
    parts: Annotated[dict[VariantId, int], Field(min_length=1)]


class StatusChange(_ControlEntry):
    """An experiment takes outcomes from here on, or no longer does."""

    kind: Literal["status"] = "status"
    experiment_id: ExperimentId
    status: Status


class Compaction(_ControlEntry):
    """Epochs are merged for good: cells of each key of `into` join those of its value, and so do late events."""

    kind: Literal["compact"] = "compact"
    experiment_id: ExperimentId
    into: Annotated[dict[int, int], Field(min_length=1)]


class ClockTick(_ControlEntry):
    """Nothing but the time, so that a log which was quiet for days does not distrust its next entry."""

    kind: Literal["clock"] = "clock"


class LossAccepted(_ControlEntry):
    """Entries vanished unread from the log, and a person has decided to go on without them."""

    kind: Literal["loss"] = "loss"
    lost: int = Field(description="How many; negative where the log was replaced by a shorter one.")
    reason: str


CONTROL_KEY = "control"
"""The key that orders are signed with; no producer is ever given it."""


class Signing(_ControlEntry):
    """Which keys may sign from here on, and whether everything must be signed."""

    kind: Literal["signing"] = "signing"
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] = Field(
        description="Of the secret that the keys are derived from."
    )
    key_ids: Annotated[tuple[ExperimentId, ...], Field(max_length=1000)] = Field((), description="Those in force.")
    required: bool = Field(False, description="Whether entries without a signature are refused.")

    def follows(self, before: Signing | None) -> bool:
        """Whether these rules are newer than those in force: an entry that somebody saw and sends again is not."""
        return before is None or self.at > before.at


ControlEntry = Annotated[
    Define | EpochStart | StatusChange | Compaction | ClockTick | LossAccepted | Signing, Field(discriminator="kind")
]
control_entries: TypeAdapter[ControlEntry] = TypeAdapter(ControlEntry)
