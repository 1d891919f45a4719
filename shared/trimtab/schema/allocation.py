"""The allocation: the one document that flag systems poll."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trimtab.clock import Instant
from trimtab.ids import ExperimentId, VariantId
from trimtab.schema.base import PARTS, SCHEMA_VERSION, Schema, canonical_json
from trimtab.schema.experiment import MAX_VARIANTS, Status

Parts = Annotated[int, Field(strict=True, ge=0, le=PARTS)]
Slice = tuple[VariantId, Parts, Parts]


class Allocation(Schema):
    """Weights in force, ready to be served; instants are integer milliseconds since the Unix epoch.

    `revision` grows by one at every write of the key, `epoch` only when weights or ranges change. `incarnation` names
    one life of the key: within it a client takes only higher revisions, and reports a change of it.
    """

    v: Literal[1] = SCHEMA_VERSION
    experiment_id: ExperimentId
    incarnation: str
    revision: Annotated[int, Field(strict=True, ge=1)]
    epoch: Annotated[int, Field(strict=True, ge=1)]
    weights: Annotated[dict[VariantId, Parts], Field(min_length=1, max_length=MAX_VARIANTS)] = Field(
        description="Parts per million of each variant, adding up to exactly 1,000,000."
    )
    ranges: tuple[Slice, ...] = Field(
        description="[variant, start, end) over 0 … 999,999 in order, without a gap; a variant may own several."
    )
    salt: str
    status: Status
    control: VariantId
    decision_id: int = Field(description="The ledger entry that explains these weights.")
    computed_at: Instant
    data_until: Instant = Field(description="The log's clock up to which outcomes are in these weights.")
    valid_until: Instant | None = Field(description="Past this and a grace, a client calls the weights stale.")
    reason: str = Field(description="One plain sentence: why these weights, now.")
    digest: str = Field(description="SHA-256, in hex, of the canonical JSON of everything else.")

    @classmethod
    def seal(cls, **fields: Any) -> Self:
        """An allocation with its digest computed; takes every other field."""
        unsealed = cls.model_construct(**{**fields, "status": Status(fields["status"]), "digest": ""})
        return cls.model_validate({**fields, "digest": unsealed.compute_digest()})

    def compute_digest(self) -> str:
        document = self.model_dump(mode="json", exclude={"digest"})
        return sha256(canonical_json(document)).hexdigest()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if sum(self.weights.values()) != PARTS:
            raise ValueError(f"weights add up to {sum(self.weights.values())}, not to {PARTS}")
        if self.control not in self.weights:
            raise ValueError(f"control {self.control!r} has no weight")
        owned, reached = dict.fromkeys(self.weights, 0), 0
        for variant, start, end in self.ranges:
            if start != reached or end <= start or variant not in owned:
                raise ValueError(f"range [{variant}, {start}, {end}) does not continue at {reached}")
            owned[variant] += end - start
            reached = end
        if owned != self.weights:
            raise ValueError("ranges do not own what the weights say")
        if self.digest != self.compute_digest():
            raise ValueError("the digest does not match the document")
        return self
