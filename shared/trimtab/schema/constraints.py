"""How far and how fast weights may move: validated when built, all honoured at once by the guardrails."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from trimtab.ids import VariantId
from trimtab.schema.base import Schema, expand_preset

DEFAULT_MIN_WEIGHT = .05
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Constraints(Schema):
    """Limits on a move of weights; weights and steps are shares in [0, 1], durations are seconds.

    Raises:
        pydantic.ValidationError (a ValueError): a limit out of its range, or a floor above its ceiling.
    """

    min_weight: Share = Field(
        DEFAULT_MIN_WEIGHT, description="Least share of any variant that is not pinned or halted."
    )
    max_step: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        .10, description="Most a variant's share may change in one move."
    )
    min_trials: Annotated[int, Field(ge=0)] = Field(
        1000, description="Trials every starting variant needs, over all epochs, before weights move."
    )
    cooldown_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        1800, description="Least time between two changes of weights; the first change waits for nothing."
    )
    epsilon: Annotated[float, Field(gt=0, le=1e-3, allow_inf_nan=False)] = Field(
        1e-9, description="Differences of weights up to this count as none."
    )
    floors: dict[VariantId, Share] = Field(
        default_factory=dict, description="Floors of single variants, in place of min_weight."
    )
    ceilings: dict[VariantId, Share] = Field(default_factory=dict, description="Ceilings of single variants.")
    pins: dict[VariantId, Share] = Field(
        default_factory=dict, description="Variants held at exactly this share, such as a pinned control."
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, data: Any) -> Any:
        """`"explore_defaults"` or `{"preset": "explore_defaults", …}` as the preset's numbers."""
        return expand_preset(data, _PRESETS)

    @model_validator(mode="after")
    def _floors_fit_under_ceilings(self) -> Self:
        for variant, ceiling in self.ceilings.items():
            if variant not in self.pins and self.floor(variant) > ceiling:
                raise ValueError(
                    f"the floor {self.floor(variant):g} of variant {variant!r} is above its ceiling {ceiling:g}"
                )
        return self

    def floor(self, variant: str) -> float:
        """The least share of `variant`: its pin, its own floor, or `min_weight`."""
        return self.pins.get(variant, self.floors.get(variant, self.min_weight))

    def ceiling(self, variant: str) -> float:
        """The largest share of `variant`: its pin, its own ceiling, or 1."""
        return self.pins.get(variant, self.ceilings.get(variant, 1.0))

    @classmethod
    def safe_defaults(cls) -> Self:
        """Slow and certain: 2,000 trials first, steps of .05."""
        return cls.model_validate("safe_defaults")

    @classmethod
    def neutral_defaults(cls) -> Self:
        """The middle way: 1,000 trials first, steps of .10."""
        return cls.model_validate("neutral_defaults")

    @classmethod
    def explore_defaults(cls) -> Self:
        """Fast: 300 trials first, steps of .20, floors of .005."""
        return cls.model_validate("explore_defaults")


_PRESETS: dict[str, dict[str, float]] = {
    "safe_defaults": {"min_trials": 2000, "max_step": .05, "min_weight": .02},
    "neutral_defaults": {"min_trials": 1000, "max_step": .10, "min_weight": .01},
    "explore_defaults": {"min_trials": 300, "max_step": .20, "min_weight": .005},
}
