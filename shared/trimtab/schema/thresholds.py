"""When the decision contract says ship, stop or go on: what counts as an effect, and how sure one has to be."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from trimtab.errors import as_configuration_error
from trimtab.schema.base import Schema, expand_preset

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]


class DecisionThresholds(Schema):
    """Bounds on what is believed of a treatment; every comparison with them is strict.

    u is |control's mean|, or the standard deviation of a continuous metric. The larger of the two effects is the margin
    of "better" and of "harmful". Given as `"default"`, `"absolute"`, or fields beside such a `preset`.

    Raises:
        pydantic.ValidationError (a ValueError): a bound out of its range.
    """

    expected_loss_tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        .01, description="Most that shipping may cost on average: a share of u, or in the metric's unit."
    )
    tolerance_is_relative: bool = Field(True, description="Whether expected_loss_tolerance is a share of u.")
    min_practical_effect: Amount = Field(0.0, description="Least difference that matters, in the metric's unit.")
    min_relative_effect: Amount = Field(.02, description="Least difference that matters, as a share of u.")
    p_positive: Probability = Field(.95, description="Ship above this probability that there is a gain at all.")
    p_better: Probability = Field(.80, description="Ship above this probability that the gain is one that matters.")
    futility: Probability = Field(.05, description="Stop below this probability that the gain is one that matters.")
    harm: Probability = Field(.90, description="Stop above this probability of a loss that matters.")

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Thresholds from what a person wrote.

        Raises:
            ConfigurationError: one sentence that names the field at fault.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise as_configuration_error(error, subject="thresholds") from None

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, data: Any) -> Any:
        return expand_preset(data, _PRESETS)

    @model_validator(mode="after")
    def _futility_lies_below_better(self) -> Self:
        if self.futility >= self.p_better:
            raise ValueError(f"futility is {self.futility:g}, not below p_better {self.p_better:g}")
        return self

    @classmethod
    def absolute(cls, **changes: float) -> Self:
        """The seed's: margin and tolerance in the metric's own unit, whatever its size."""
        return cls.model_validate({"preset": "absolute", **changes})

    def margin(self, unit: float) -> float:
        """The least difference that matters, in the metric's unit; `unit` is u ≥ 0."""
        return max(self.min_practical_effect, self.min_relative_effect * unit)

    def tolerance(self, unit: float) -> float:
        """The expected loss one accepts, in the metric's unit; `unit` is u ≥ 0."""
        return self.expected_loss_tolerance * (unit if self.tolerance_is_relative else 1.0)


_PRESETS: dict[str, dict[str, float | bool]] = {
    "absolute": {"min_practical_effect": .02, "min_relative_effect": 0.0, "tolerance_is_relative": False},
    "default": {},
}
