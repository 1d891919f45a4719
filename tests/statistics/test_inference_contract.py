"""Beliefs alone ship A/A experiments if one looks often enough; the gate does not let them, and lets winners pass."""

from __future__ import annotations

import math

import numpy as np
from inference_worlds import Runs, fixed, log_evalues, serve
from worlds import belief_of, show, size

from trimtab.engine import Cells
from trimtab.inference import Advice, DecisionThresholds, EffectPosterior, assess, look, plan_test, recommend
from trimtab.inference.contract import believes_in_shipping
from trimtab.schema.experiment import Metric

METRIC = Metric.model_validate({"name": "m", "kind": "binary", "primary": True})
LOOKS, BATCH = 200, 250


def ships(runs: Runs, r: int, batch: int = BATCH) -> tuple[bool, bool]:
    """Whether beliefs alone, and whether the contract, ever ship run `r`, looked at after every batch.

    Only looks with z > 1.6 can have P(positive) > .95: the prior pulls towards 0. The others need no fit; claims are
    recorded at those looks alone, which takes nothing from the gate.
    """
    n, y = runs.n[r].cumsum(axis=0), runs.y[r].cumsum(axis=0)
    now = Runs(runs.n[r], runs.y[r]).looks
    z = now.score / np.sqrt(np.maximum(now.variance, 1e-9))
    plan, claim, believed = None, None, False
    for e in np.flatnonzero((z > 1.6) & (now.evidence >= 1)):
        # Shares never moved, so one epoch holds all.
        cells = Cells.gather("ab", {(0, v): (int(n[e, k]), int(y[e, k]), int(y[e, k])) for k, v in enumerate("ab")})
        plan = plan or plan_test(cells, METRIC, "a", "b", planned_units=LOOKS * batch)
        claim = look(cells, METRIC, "a", "b", plan=plan, before=claim)
        found = assess(EffectPosterior.of(belief_of(cells), cells, METRIC, "a", "b"), "increase")
        believed |= believes_in_shipping(found, DecisionThresholds())
        if recommend("b", found, claim, "increase").advice is Advice.SHIP:
            return True, True
    return believed, False


def test_identical_variants_are_not_shipped_in_200_looks_though_beliefs_would() -> None:
    """A/A at .05, even shares, 200 × 250. R = 60 (full 500).

    The gate alone errs on one side with probability ≤ .025, so R runs ship ≤ .025 + 3√(.025·.975/R); .014 of 500 did.
    Teeth: beliefs alone ship in .29; among 60 runs at least .29 − 3√(.29·.71/60) = .11.
    """
    count = size(60, 500)
    runs = serve(np.full((LOOKS, 2), .05), BATCH, fixed(.5), count, np.random.default_rng(20331))
    outcomes = np.array([ships(runs, r) for r in range(count)]).mean(axis=0)
    show("A/A shipped by beliefs alone", outcomes[0], "about .29")
    show("A/A shipped by the contract", outcomes[1], "≤ .02")
    assert outcomes[1] <= .025 + 3 * math.sqrt(.025 * .975 / count)
    assert outcomes[0] >= .29 - 3 * math.sqrt(.29 * .71 / count)


def test_a_tenth_better_ships() -> None:
    """.10 → .11, even shares, 200 × 500, in ≥ .94 of runs: passing the gate, R = 2,000; the whole contract, R = 20.

    Evidence at the end is z = .01/√(.105·.895·2/50,000) = 5.2 against a boundary near 3.1: power Φ(2.1) = .98 there.
    """
    runs = serve(np.tile([.10, .11], (LOOKS, 1)), 500, fixed(.5), 2000, np.random.default_rng(20332))
    passed = float((log_evalues(runs.looks, LOOKS * 500) >= math.log(20)).any(axis=1).mean())
    show("+10 %: passes the gate", passed, "≥ .94")
    assert passed >= .94
    few = Runs(runs.n[:20], runs.y[:20])
    shipped = float(np.mean([ships(few, r, 500)[1] for r in range(20)]))
    show("+10 %: shipped", shipped, "≥ .94 − 3 s.e.")
    assert shipped >= .94 - 3 * math.sqrt(.94 * .06 / 20)
