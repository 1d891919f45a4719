"""What may be claimed: always-valid tests, effects, traffic checks, the decision contract, A/B tests.

::

    cells ─► pairs ─► looks ─┬─► sequential   p-values and intervals that hold at every look, e-BH
    exact    h_e, D_e  S, V  ├─► harm         guardrail metrics
    sums                     ├─► two_groups   one promised look: z, Fisher, Welch ─► ab_test ─► recommendation
                             └─► effects      stratified, AIPW: the number to report
    belief ─► posterior ─┬─► contract         ship, stop or continue, with what either may cost
                         └─► remaining        what going on may still be worth
    units and served parts ─► sample_ratio    may any of it be trusted?

Pure: no I/O, no clock, no randomness. Nothing here imports the engine; its `Cells` and `Belief` are handed in.
"""

from trimtab.inference.ab_test import ABResult, Group, Measured, analyze_ab
from trimtab.inference.comparison import Comparison
from trimtab.inference.contract import (
    Advice,
    Assessment,
    Recommendation,
    assess,
    recommend,
    value_of_one_more_round,
)
from trimtab.inference.effects import Effect, aipw_effect, stratified_effect
from trimtab.inference.harm import HARM_ALPHA, Harm, harm_test
from trimtab.inference.posterior import EffectPosterior, typical_mean
from trimtab.inference.remaining import ValueRemaining, value_remaining
from trimtab.inference.sample_ratio import Leak, SampleRatio, find_leaks, sample_ratio
from trimtab.inference.sample_size import sample_size_for_means, sample_size_for_rates
from trimtab.inference.sequential import Claim, SequentialPlan, e_bh, look, plan_test
from trimtab.schema.thresholds import DecisionThresholds

__all__ = [
    "HARM_ALPHA",
    "ABResult",
    "Advice",
    "Assessment",
    "Claim",
    "Comparison",
    "DecisionThresholds",
    "Effect",
    "EffectPosterior",
    "Group",
    "Harm",
    "Leak",
    "Measured",
    "Recommendation",
    "SampleRatio",
    "SequentialPlan",
    "ValueRemaining",
    "aipw_effect",
    "analyze_ab",
    "assess",
    "e_bh",
    "find_leaks",
    "harm_test",
    "look",
    "plan_test",
    "recommend",
    "sample_ratio",
    "sample_size_for_means",
    "sample_size_for_rates",
    "stratified_effect",
    "typical_mean",
    "value_of_one_more_round",
    "value_remaining",
]
