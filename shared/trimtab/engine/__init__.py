"""The pure way from statistics to a decision: no I/O, no clock, no global randomness.

::

    cells ─► estimation ─► posterior ─► proposal ─► guardrails ─► decision
    exact    likelihood    correlated   strategies   projection    holds, verdicts,
    sums     θ̂, L, τ       P(best)      objective    one box       outlook, wording

`estimation` climbs (`newton`) the likelihood of `one_epoch` or `many_epochs`. P(best) comes from `probability` (on
`quadrature`) and, given common factors (`one_level`, or on a `lattice`), from `correlated`. `inputs` estimates what
`decide` takes; `decide` is what the ledger replays. `compute` holds `Engine`, the same way for whoever only has totals
(`totals`).
"""

from trimtab.engine.cells import Cells
from trimtab.engine.compute import Engine
from trimtab.engine.correlated import probability_best_mvn
from trimtab.engine.decision import Result, decide, parts_after_halt
from trimtab.engine.estimation import Estimate, estimate
from trimtab.engine.explanation import (
    AllocationExplanation,
    AllocationResult,
    GuardrailExplanation,
    Moments,
    Observation,
    ObservationsSummary,
    StrategyExplanation,
)
from trimtab.engine.forgetting import retention
from trimtab.engine.inputs import estimate_inputs
from trimtab.engine.posterior import Belief
from trimtab.engine.probability import (
    probability_best_beta,
    probability_best_gamma,
    probability_best_normal,
    probability_best_t,
)
from trimtab.engine.strategies import STRATEGIES, Evidence, Strategy, register_strategy

__all__ = [
    "STRATEGIES",
    "AllocationExplanation",
    "AllocationResult",
    "Belief",
    "Cells",
    "Engine",
    "Estimate",
    "Evidence",
    "GuardrailExplanation",
    "Moments",
    "Observation",
    "ObservationsSummary",
    "Result",
    "Strategy",
    "StrategyExplanation",
    "decide",
    "estimate",
    "estimate_inputs",
    "parts_after_halt",
    "probability_best_beta",
    "probability_best_gamma",
    "probability_best_mvn",
    "probability_best_normal",
    "probability_best_t",
    "register_strategy",
    "retention",
]
