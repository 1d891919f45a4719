"""The decision: what was known, what was proposed, what bound it, what came out; the ledger keeps it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from trimtab.clock import Instant
from trimtab.ids import ExperimentId, VariantId
from trimtab.schema.allocation import Parts
from trimtab.schema.base import SCHEMA_VERSION, Schema
from trimtab.schema.constraints import Constraints
from trimtab.schema.experiment import MetricKind, Objective


class Outcome(StrEnum):
    MOVE = "move"
    HOLD = "hold"
    HALT = "halt"


class HoldCode(StrEnum):
    """Why weights stay as they are, in the order in which the rules are asked."""

    NOT_RUNNING = "not_running"
    PAUSED = "paused"
    STALE = "stale"
    LOG_GAP = "log_gap"
    RESTORED = "restored"
    INVALID_INPUT = "invalid_input"
    SAMPLE_RATIO = "sample_ratio"
    LEAK = "leak"
    DEAD_LETTERS = "dead_letters"
    COOLDOWN = "cooldown"
    MIN_TRIALS = "min_trials"
    UNCHANGED = "unchanged"


class VerdictCode(StrEnum):
    """What bound one variant's weight, or all of them."""

    MAX_STEP = "max_step"
    FLOOR = "floor"
    CEILING = "ceiling"
    PIN = "pin"
    AWAITING_EVIDENCE = "awaiting_evidence"
    HALTED = "halted"
    STEP_WIDENED = "step_widened"
    RELAXED = "relaxed"  # limits that no weights can meet together; the weakest gave way
    ROOM = "room"  # free to move, yet the others left it less, or more, than was proposed


class Reason(Schema):
    """One closed code with its numbers and a plain sentence."""

    code: HoldCode
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict)


class Verdict(Schema):
    """One guardrail's word on one variant (or on all, where `variant` is None)."""

    code: VerdictCode
    variant: VariantId | None
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict)


class Posterior(Schema):
    """What is believed of one variant: its effect against the average, in the model's own units, and P(best)."""

    p_best: float
    effect_size: float
    effect_sd: float
    trials: int


class Inputs(Schema):
    """The sufficient inputs of a decision: with them alone it can be made again, to the same parts."""

    variants: tuple[VariantId, ...]
    control: VariantId
    strategy: str
    objective: Objective = Objective.EARN
    half_life_seconds: float | None = Field(None, description="Age at which outcomes counted half; None: never.")
    direction: Literal["increase", "decrease"]
    kind: MetricKind = Field(description="Kind of the primary metric.")
    theta: tuple[float, ...] = Field(description="Effects θ̂ per variant; only contrasts mean anything.")
    information: tuple[tuple[float, ...], ...] = Field(description="Information L, variants × variants.")
    precision: tuple[float, ...] = Field(
        description="Precision of each effect if the epochs' levels were known, Σ v: L less what the levels cost."
    )
    prior_sd: float = Field(description="τ of the prior N(0, τ²) on each effect; 0 where the data say nothing.")
    trials: tuple[int, ...] = Field(description="Trials of the primary metric per variant, over all epochs.")
    successes: tuple[float, ...] = Field(description="Sum of the primary metric per variant, over all epochs.")
    faded_trials: tuple[float, ...] | None = Field(
        None, description="What `trials` amount to after forgetting, which strategies see; None: nothing was forgotten."
    )
    faded_successes: tuple[float, ...] | None = Field(None, description="The same of `successes`.")
    previous: dict[VariantId, Parts]
    constraints: Constraints
    halted: tuple[VariantId, ...] = ()
    entered_later: tuple[VariantId, ...] = Field((), description="Variants added after the start.")
    entry_weights: dict[VariantId, float] = Field(
        default_factory=dict, description="Shares at which those added later wait, where they were given one."
    )
    now: Instant
    changed_at: Instant | None = Field(description="When weights last changed by a decision; None: never.")
    facts: tuple[Reason, ...] = Field((), description="Holds found outside the engine, such as stale data.")


class Decision(Schema):
    """One decision as the ledger keeps it; a run of identical holds is one entry with a count."""

    v: Literal[1] = SCHEMA_VERSION
    kind: Literal["decision"] = "decision"
    decision_id: Annotated[int, Field(ge=1)]
    experiment_id: ExperimentId
    revision: int = Field(description="The revision it was (last) published under.")
    epoch: int
    outcome: Outcome
    decided_at: Instant
    data_until: Instant
    inputs: Inputs
    posterior: dict[VariantId, Posterior]
    proposal: dict[VariantId, float]
    basis: str = Field("", description="What the proposal rests on, in plain words.")
    verdicts: tuple[Verdict, ...]
    parts: dict[VariantId, Parts]
    reasons: tuple[Reason, ...]
    sentence: str = Field(description="The decision in one plain sentence.")
    would_move: str = Field(description="What would have to change for the weights to move (further).")
    count: Annotated[int, Field(ge=1)] = 1
    first_decided_at: Instant | None = Field(None, description="Start of a run of identical holds.")


class Act(Schema):
    """What a person ordered: kept in the same ledger, in the same order."""

    v: Literal[1] = SCHEMA_VERSION
    kind: Literal["act"] = "act"
    decision_id: Annotated[int, Field(ge=1)]
    experiment_id: ExperimentId
    revision: int
    epoch: int
    act: Literal["start", "hold", "resume", "halt", "stop", "conclude", "update"]
    by: str
    decided_at: Instant
    parts: dict[VariantId, Parts]
    sentence: str
    details: dict[str, Any] = Field(default_factory=dict)
    count: Literal[1] = 1


LedgerEntry = Annotated[Decision | Act, Field(discriminator="kind")]
ledger_entries: TypeAdapter[LedgerEntry] = TypeAdapter(LedgerEntry)
