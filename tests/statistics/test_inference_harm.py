"""Guardrail metrics, asked after each of 200 epochs of 500 units, base rate .01.

A stop needs M ≥ G(K − 1)/.01, so a family that harms nobody is stopped with probability ≤ .01: among R = 2,000 runs at
most .01 + 3√(.01·.99/2000) = .0167.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from inference_worlds import Runs, fixed, frozen_rho, serve
from worlds import show

from trimtab.inference.harm import HARM_ALPHA, harm_looks
from trimtab.inference.mixture import one_sided_log_evalue
from trimtab.inference.pairs import Pair
from trimtab.inference.sequential import DEFAULT_PLANNED_UNITS
from trimtab.schema.experiment import Metric

RUNS = 2000
BAR = .01 + 3 * math.sqrt(.01 * .99 / RUNS)
ERRORS = Metric.model_validate({"name": "errors", "kind": "binary", "direction": "decrease", "harm_limit": 0})


def stops(runs: Runs, limit: float, relative_limit: float = 0.0, family: int = 1) -> npt.NDArray[np.bool_]:
    """(R, E) whether the test stops the treatment, its level shared among `family` tests."""
    now = harm_looks(Pair.of_sums(runs.n, runs.y, runs.y), ERRORS, limit, relative_limit)
    alpha = HARM_ALPHA / family
    rho = frozen_rho(now, DEFAULT_PLANNED_UNITS, alpha)
    log_m = one_sided_log_evalue(now.score, now.variance, rho)  # type: ignore[arg-type]
    return (log_m >= -math.log(alpha)) & (now.evidence >= 1)


@pytest.mark.parametrize("share", [.5, .2, .05])
@pytest.mark.parametrize(
    ("rate", "limit", "relative"),
    [(.01, 0.0, 0.0), (.015, .005, 0.0), (.015, 0.0, .5)],
    ids=["no limit", "absolute", "relative"],
)
def test_a_variant_at_its_limit_is_rarely_stopped(share: float, rate: float, limit: float, relative: float) -> None:
    """Teeth: a one-sided z test at .01 after each epoch stops it in over a twentieth of runs."""
    rates = np.tile([.01, rate], (200, 1))
    runs = serve(rates, 500, fixed(share), RUNS, np.random.default_rng(20321))
    null = float(stops(runs, limit, relative).any(axis=1).mean())
    now = harm_looks(Pair.of_sums(runs.n, runs.y, runs.y), ERRORS, limit, relative)
    z = now.score / np.sqrt(np.maximum(now.variance, 1e-9))
    naive = float(((z > 2.326) & (now.evidence >= 1)).any(axis=1).mean())
    show(f"harmless at share {share}, limit {limit} {relative}: stopped", null, f"≤ {BAR:.4f}")
    assert null <= BAR
    assert naive >= .05


def test_a_family_of_four_shares_the_level() -> None:
    """Two guardrails on two treatments, independent here: any of the four stops in ≤ .0167 of families."""
    rng = np.random.default_rng(20322)
    any_of = np.zeros(RUNS, bool)
    for _ in range(4):
        any_of |= stops(serve(np.full((200, 2), .01), 500, fixed(.5), RUNS, rng), 0.0, family=4).any(axis=1)
    show("family of four: stopped", float(any_of.mean()), f"≤ {BAR:.4f}")
    assert any_of.mean() <= BAR


@pytest.mark.parametrize("share", [.5, .3, .2])
def test_doubled_harm_is_always_stopped_and_soon(share: float) -> None:
    """.01 → .02, no limit: stopped in every run, median ≤ 18 epochs. R = 1,000. (At share .8 it takes 24.)

    Teeth: at a twentieth of the level, which dividing it by looks would amount to at least, the median is beyond 18.
    """
    runs = serve(np.tile([.01, .02], (200, 1)), 500, fixed(share), 1000, np.random.default_rng(20323))
    hit = stops(runs, 0.0)
    median = float(np.median(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 1000)))
    show(f"doubled harm at share {share}: median epochs", median, "≤ 18")
    late = stops(runs, 0.0, family=20)
    assert hit.any(axis=1).all()
    assert median <= 18
    assert np.median(late.argmax(axis=1) + 1) > 18
