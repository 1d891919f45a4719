"""The decision contract: ship, stop or continue one treatment, with what either choice may cost (STATISTICS §4).

Beliefs alone ship three in ten A/A experiments that are looked at 200 times, so shipping also takes the always-valid
claim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import ndtr

from trimtab.inference.posterior import EffectPosterior
from trimtab.inference.sequential import Claim
from trimtab.schema.thresholds import DecisionThresholds


class Advice(StrEnum):
    """What the contract says about a treatment."""

    SHIP = "ship"
    STOP = "stop"
    CONTINUE = "continue"


@dataclass(frozen=True)
class Assessment:
    """Belief about treatment − control in the metric's unit; wherever lower is better, positive is still better.

    `p_better` and `p_harmful` are beyond ± `margin`. `expected_loss` is what shipping the treatment costs on average,
    `expected_loss_control` what keeping control does; `value_of_one_more_round` what doubling the data would save.
    """

    effect_size: float
    effect_sd: float
    effect_size_ci_lower: float
    effect_size_ci_upper: float
    p_positive: float
    p_better: float
    p_harmful: float
    expected_loss: float
    expected_loss_control: float
    value_of_one_more_round: float
    margin: float
    tolerance: float


@dataclass(frozen=True)
class Recommendation:
    """The contract's word on one treatment, why in one sentence, and all it rests on."""

    treatment: str
    advice: Advice
    sentence: str
    assessment: Assessment
    claim: Claim | None
    p_best: float | None = None


def assess(
    posterior: EffectPosterior, direction: str, thresholds: DecisionThresholds | None = None, *, level: float = .80
) -> Assessment:
    """What the posterior says of an effect whose better side is `direction`, "increase" or "decrease".

    Args:
        level: of the central credible interval.

    Raises:
        InvalidInput: a level outside (0, 1).
    """
    bounds = thresholds or DecisionThresholds()
    margin, tolerance = bounds.margin(posterior.unit), bounds.tolerance(posterior.unit)
    up = direction == "increase"
    low, high = posterior.interval(level)
    mean, sd = posterior.moments()
    gain = posterior.expectation(lambda delta: np.maximum(delta, 0))
    loss = posterior.expectation(lambda delta: np.maximum(-delta, 0))
    above, below = posterior.above(margin), posterior.below(-margin)
    return Assessment(
        effect_size=mean if up else -mean,
        effect_sd=sd,
        effect_size_ci_lower=low if up else -high,
        effect_size_ci_upper=high if up else -low,
        p_positive=posterior.above(0.0) if up else posterior.below(0.0),
        p_better=above if up else below,
        p_harmful=below if up else above,
        expected_loss=loss if up else gain,
        expected_loss_control=gain if up else loss,
        value_of_one_more_round=value_of_one_more_round(mean, sd),
        margin=margin,
        tolerance=tolerance,
    )


def recommend(
    treatment: str,
    assessment: Assessment,
    claim: Claim | None,
    direction: str,
    *,
    thresholds: DecisionThresholds | None = None,
    enough: bool | None = None,
    p_best: float | None = None,
) -> Recommendation:
    """The first rule that holds, all comparisons strict: ship, stop for harm, stop for futility, else continue.

    Args:
        claim: the always-valid claim. None, as for experiments whose unit is an event, never ships.
        enough: whether the minimum evidence is there; default: the claim says so.
    """
    bounds = thresholds or DecisionThresholds()
    ready = enough if enough is not None else claim is not None and claim.enough
    proven = claim is not None and claim.favours_treatment(direction)
    advice, sentence = _first_rule(treatment, assessment, bounds, ready=ready, proven=proven)
    return Recommendation(treatment, advice, sentence, assessment, claim, p_best)


def value_of_one_more_round(mean: float, sd: float) -> float:
    """s(φ(z) − zΦ(−z)), s = sd/√2, z = |mean|/s: the expected gain from a round that doubles the data; 0 if sd is 0."""
    step = sd / math.sqrt(2)
    if step <= 0:
        return 0.0
    z = abs(mean) / step
    return max(0.0, step * (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) - z * float(ndtr(-z))))


def believes_in_shipping(found: Assessment, bounds: DecisionThresholds) -> bool:
    """The half of the rule that beliefs decide."""
    return (
        found.expected_loss < found.tolerance
        and found.p_positive > bounds.p_positive
        and found.p_better > bounds.p_better
    )


def _first_rule(
    name: str, found: Assessment, bounds: DecisionThresholds, *, ready: bool, proven: bool
) -> tuple[Advice, str]:
    if not ready:
        return Advice.CONTINUE, f"Continue: there is not enough evidence on {name} yet to say anything."
    believed = believes_in_shipping(found, bounds)
    if believed and proven:
        return Advice.SHIP, f"Ship {name}: it is better than control with probability {_p(found.p_positive)}."
    if found.p_harmful > bounds.harm:
        return Advice.STOP, f"Stop {name}: it is harmful with probability {_p(found.p_harmful)}."
    if found.p_better < bounds.futility:
        return Advice.STOP, (
            f"Stop {name}: that it is better by as much as matters has probability {_p(found.p_better)}."
        )
    if believed:
        return Advice.CONTINUE, f"Continue: {name} looks better, but not yet clearly enough to allow for many looks."
    if found.p_positive < .5:
        return Advice.CONTINUE, f"Continue: {name} is better with probability {_p(found.p_positive)} only, but may be."
    return Advice.CONTINUE, f"Continue: {name} may be better, with probability {_p(found.p_positive)}."


def _p(probability: float) -> str:
    """A probability in a sentence; never a 1 or 0 it is not."""
    if probability > .9995:
        return "above .999"
    return "below .001" if probability < .0005 else f"{probability:.3f}".lstrip("0")
