"""What the gateway says and takes beyond the schemas of the package, for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from trimtab.ids import OpaqueId
from trimtab.schema.base import Schema


class Accepted(Schema):
    """Everything sent is in the log."""

    accepted: int = Field(description="How many events.")


class Readiness(Schema):
    """Whether the gateway can do its work, and what a person should look at."""

    status: str = Field(description="`ready`; `degraded`: it serves, yet something needs a look; `unready`.")
    checks: dict[str, str] = Field(description="What was looked at, in words.")


class EvaluationContext(BaseModel):
    """The caller's context; attributes beside the key are taken and not used."""

    model_config = ConfigDict(extra="allow")

    targetingKey: OpaqueId = Field(description="The unit.")


class EvaluationRequest(BaseModel):
    """An OFREP evaluation."""

    model_config = ConfigDict(extra="ignore")

    context: EvaluationContext


class EvaluationSuccess(Schema):
    """An evaluated flag; metadata hold epoch, propensity, revision and incarnation of the allocation."""

    key: str
    value: str
    variant: str
    reason: str = Field(description="SPLIT, or STALE where nobody has renewed the allocation in time.")
    metadata: dict[str, Any]


class EvaluationFailure(Schema):
    """A flag that could not be evaluated; the code is OpenFeature's."""

    key: str
    errorCode: str
    errorDetails: str


class BulkSuccess(Schema):
    """All flags."""

    flags: list[EvaluationSuccess]


class BulkFailure(Schema):
    """A bulk evaluation that failed."""

    errorCode: str
    errorDetails: str
