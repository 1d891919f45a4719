"""Always-valid tests and intervals under looks at every epoch, drift and shares that follow the data.

α = .05, so among R runs at most .05 + 3√(.05·.95/R) may ever reject: .0646 at R = 2,000. Looks come after each epoch;
ρ is frozen at the first with enough evidence, for as many planned units as the world has.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from inference_worlds import (
    Runs,
    Share,
    ever_misses,
    fixed,
    frozen_rho,
    log_evalues,
    pooled_z,
    ramp,
    serve,
    thompson,
)
from worlds import show, size

from trimtab.engine import Cells
from trimtab.inference import Claim, aipw_effect, e_bh, look, plan_test
from trimtab.inference.looks import looks
from trimtab.inference.mixture import log_evalue
from trimtab.inference.pairs import Pair
from trimtab.schema.experiment import Metric, MetricKind

RUNS = 2000
BAR = .05 + 3 * math.sqrt(.05 * .95 / RUNS)
REJECTS = math.log(20)
BINARY = Metric.model_validate({"name": "m", "kind": "binary", "primary": True})


def cells_of(runs: Runs, r: int, epochs: int) -> Cells:
    """One run's first epochs as the service holds them."""
    sums = {
        (e, v): (int(runs.n[r, e, k]), int(runs.y[r, e, k]), int(runs.y[r, e, k]))
        for e in range(epochs)
        for k, v in enumerate("ab")
    }
    return Cells.gather("ab", sums)


@pytest.mark.parametrize(("rate", "batch"), [(.05, 250), (.5, 100), (.001, 2000)])
def test_identical_variants_looked_at_200_times_are_rarely_told_apart(rate: float, batch: int) -> None:
    """A/A, even shares, one rate, 200 epochs. Teeth: a z test at 1.96 at every look rejects in over .30."""
    runs = serve(np.full((200, 2), rate), batch, fixed(.5), RUNS, np.random.default_rng(20301))
    ever = float((log_evalues(runs.looks, 200 * batch) >= REJECTS).any(axis=1).mean())
    naive = float((np.abs(pooled_z(runs.n, runs.y)) > 1.96).any(axis=1).mean())
    show(f"A/A at {rate}, 200 looks: ever rejected", ever, f"≤ {BAR:.4f}")
    show(f"A/A at {rate}, 200 looks: naive z", naive, "≥ .30")
    assert ever <= BAR
    assert naive >= .30


@pytest.mark.parametrize(
    "share",
    [thompson(.05), thompson(.01), thompson(.05, pooled=True)],
    ids=["floor .05", "floor .01", "pooled bandit, floor .05"],
)
def test_identical_variants_on_a_ramp_are_rarely_told_apart_though_shares_follow_the_data(share: Share) -> None:
    """A/A, 2.5 → 12.5 % over 60 epochs of 1,000, no step limit. Teeth: pooled z at the end rejects in half the runs."""
    runs = serve(ramp(60), 1000, share, RUNS, np.random.default_rng(20302))
    ever = float((log_evalues(runs.looks, 60_000) >= REJECTS).any(axis=1).mean())
    pooled = float((np.abs(pooled_z(runs.n, runs.y)[:, -1]) > 1.96).mean())
    show("adaptive A/A on a ramp: ever rejected", ever, f"≤ {BAR:.4f}")
    show("adaptive A/A on a ramp: pooled z", pooled, "≥ .5")
    assert ever <= BAR
    assert pooled >= .5


def test_forgetting_is_for_weights_alone_since_tests_of_discounted_cells_reject() -> None:
    """A/A at .05, even shares, 200 × 1,000, cells of age a counted 2^(−a/half-life): why tests take them undiscounted.

    R = 1,000. Teeth: z of the discounted sums at 1.96 rejects at some look in over .3 of runs: what is forgotten makes
    room for the next coincidence.
    """
    runs, epochs = serve(np.full((200, 2), .05), 1000, fixed(.5), 1000, np.random.default_rng(20309)), 200
    pair = Pair.of_sums(runs.n, runs.y, runs.y)
    now = looks(pair, MetricKind.BINARY)
    ever = float((log_evalues(now, 200_000) >= REJECTS).any(axis=1).mean())
    show("A/A, all cells: ever rejected", ever, "≤ .05 + 3 s.e.")
    assert ever <= .05 + 3 * math.sqrt(.05 * .95 / 1000)
    step_variance = np.diff(now.variance, axis=1, prepend=0)
    for half_life in (5, 20):
        keep, score, variance, naive = .5 ** (1 / half_life), np.zeros(1000), np.zeros(1000), np.zeros(1000, bool)
        for e in range(epochs):
            score, variance = keep * score + pair.score[:, e], keep * variance + step_variance[:, e]
            naive |= np.abs(score) > 1.96 * np.sqrt(variance)
        show(f"A/A, half-life {half_life}: z ever rejects", float(naive.mean()), "> .3")
        assert naive.mean() > .3


def test_of_the_treatments_that_e_bh_calls_few_are_none() -> None:
    """Nine treatments of one control at .10, three of them at .12, 60 × 5,000 in even shares, called after each epoch.

    The mean share of false ones among those called is ≤ α = .05, at the end as at the epoch that calls most wrongly in
    the mean. R = 300; its error is at most .5/√R. Teeth: with z at 1.96 at any look so far it ends
    above .15.
    """
    rng, count, none = np.random.default_rng(20310), 300, np.arange(9) >= 3
    rates = np.r_[.10, np.where(none, .10, .12)]
    n = rng.multinomial(5000, np.full(10, .1), (count, 60))
    y = rng.binomial(n, rates)
    logs, z = np.empty((count, 60, 9)), np.empty((count, 60, 9))
    for k in range(9):
        now = Runs(n[..., [0, k + 1]], y[..., [0, k + 1]]).looks
        logs[..., k] = log_evalues(now, 60_000)
        z[..., k] = np.abs(now.score) / np.sqrt(np.maximum(now.variance, 1e-9))
    called = np.array([[_called(row) for row in run] for run in np.exp(np.minimum(logs[:, 9::10], 600))])
    naive = np.maximum.accumulate(z, axis=1)[:, 9::10] > 1.96
    false, fooled = (
        float(((some & none).sum(axis=2) / np.maximum(some.sum(axis=2), 1)).mean(axis=0).max())
        for some in (called, naive)
    )
    power = float(called[:, -1, :3].mean())
    show("e-BH: share of false calls, at its worst epoch", false, "≤ .05")
    show("e-BH: true ones called at the end", power, "≥ .5")
    show("z at 1.96: share of false calls, at its worst epoch", fooled, "> .15")
    assert false <= .05
    assert power >= .5
    assert fooled > .15


def _called(evalues: np.ndarray) -> list[bool]:
    found = e_bh({str(k): float(e) for k, e in enumerate(evalues)})
    return [str(k) in found for k in range(len(evalues))]


@pytest.mark.parametrize(("floor", "bar"), [(.10, .90), (.05, .68)])
def test_a_fifth_better_is_found_on_the_ramp(floor: float, bar: float) -> None:
    """+20 %, 60 × 1,000, max_step .10: the treatment soon has nearly all traffic, so control's floor decides.

    Measured .915 and .693 (6,000 runs), so 2,000 stay above the bar less three standard errors. Teeth: a z test of the
    same cells at the Bonferroni level of 60 looks, .05/60, is as honest and finds fewer.
    """
    count = size(2000, 20_000)
    runs = serve(ramp(60, .2), 1000, thompson(floor), count, np.random.default_rng(20303), max_step=.1)
    now = runs.looks
    found = float(((log_evalues(now, 60_000) >= REJECTS) & (now.score > 0)).any(axis=1).mean())
    z = now.score / np.sqrt(np.maximum(now.variance, 1e-9))
    shared = float(((z > 3.3414) & (now.evidence >= 1)).any(axis=1).mean())
    show(f"power at +20 %, floor {floor}", found, f"≥ {bar}")
    show(f"power at +20 %, floor {floor}, Bonferroni over looks", shared, "less")
    assert shared < found
    assert found >= bar - 3 * math.sqrt(bar * (1 - bar) / count)


@pytest.mark.parametrize("share", [thompson(.05), fixed(.5)], ids=["thompson", "even"])
def test_confidence_sequences_hold_the_truth_at_all_looks_at_once(share: Share) -> None:
    """A true +.01 on the ramp: covered at all 60 looks in ≥ .95. Teeth: fixed 95 % intervals at each look are not."""
    runs = serve(ramp(60) + np.array([0, .01]), 1000, share, RUNS, np.random.default_rng(20304))
    now = runs.looks
    covered = 1 - ever_misses(now, .01, 60_000, np.maximum(now.variance, now.own_variance))
    half = 1.96 * np.sqrt(now.own_variance)
    naive = float((np.abs(now.score - .01 * now.weight) <= half).all(axis=1).mean())
    show("covered at all looks", covered, "≥ .95")
    assert covered >= .95
    assert naive < .85


@pytest.mark.parametrize(
    ("share", "rates"), [(.05, (.02, .06)), (.2, (.1, .4)), (.9, (.3, .05))], ids=["rare", "large", "most traffic"]
)
def test_large_effects_are_covered_though_one_side_has_little_traffic(share: float, rates: tuple[float, float]) -> None:
    """100 epochs of 500, fixed shares. Teeth: V of no effect alone, as for the test, covers in .71 … .91 of runs."""
    runs = serve(np.tile(rates, (100, 1)), 500, fixed(share), RUNS, np.random.default_rng(20305))
    now, effect = runs.looks, rates[1] - rates[0]
    covered = 1 - ever_misses(now, effect, 50_000, np.maximum(now.variance, now.own_variance))
    tempting = 1 - ever_misses(now, effect, 50_000, now.variance)
    show(f"share {share}, {rates}: covered", covered, "≥ .95")
    assert covered >= .95
    assert tempting < .93


def test_skewed_revenue_is_no_reason_to_reject() -> None:
    """A/A, 3 % buy, log-normal σ = 1 capped at 500, shares .5 / .5 and .9 / .1, 100 epochs of 100, R = 400.

    α + 3 s.e. = .083. Teeth: naive Welch at every look.
    """
    rng, count = np.random.default_rng(20306), 400
    for share in (.5, .1):
        n, total, squares = _revenue(rng, count, share)
        pair = Pair.of_sums(n, total, squares)
        now = looks(pair, MetricKind.REVENUE)
        ever = float((log_evalues(now, 10_000) >= REJECTS).any(axis=1).mean())
        z = np.abs(now.score) / np.sqrt(np.maximum(now.own_variance, 1e-9))
        naive = float(((z > 1.96) & (now.evidence >= 1)).any(axis=1).mean())
        show(f"revenue A/A at share {share}: ever rejected", ever, "≤ .083")
        assert ever <= .05 + 3 * math.sqrt(.05 * .95 / count)
        assert naive >= .2


def _revenue(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.rint(np.minimum(np.exp(rng.normal(3, 1, (count, 100, 100))), 500)).astype(np.int64)
    values *= rng.random(values.shape) < .03
    treated = rng.random(values.shape) < share
    chosen = np.stack([~treated, treated], axis=-1)
    paid = values[..., None] * chosen
    return chosen.sum(axis=2), paid.sum(axis=2), (paid**2).sum(axis=2)


def test_one_look_at_a_time_says_what_these_arrays_say() -> None:
    """`plan_test` and `look` on cells, epoch by epoch, against the vectorised arithmetic of this file."""
    runs = serve(ramp(12, .3), 1000, thompson(.1), 5, np.random.default_rng(20307))
    now = runs.looks
    rho, least = frozen_rho(now, 12_000, .05), np.ones(5)
    for r in range(5):
        plan, claim = None, Claim(.05)
        for e in range(12):
            cells = cells_of(runs, r, e + 1)
            plan = plan or plan_test(cells, BINARY, "a", "b", planned_units=12_000)
            claim = look(cells, BINARY, "a", "b", plan=plan, before=claim)
            if now.evidence[r, e] >= 1:
                log_e = float(log_evalue(now.score[r, e], now.variance[r, e], float(rho[r, 0])))
                least[r] = min(least[r], math.exp(-max(log_e, 0)))
            assert claim.pvalue == pytest.approx(least[r], rel=1e-9)


def test_aipw_is_unbiased_where_a_bandit_chases_a_ramp() -> None:
    """+20 % on the ramp, 20 × 200, bandit on pooled counts, floor .02: cells are small, some empty.

    The truth is .2·.075 = .015, epochs being of one size: the mean of AIPW lies within three of its standard errors.
    Teeth: the difference of pooled means does not, for the treatment had the good times.
    """
    count, bandit = size(400, 2000), thompson(.02, pooled=True)
    runs = serve(ramp(20, .2), 200, bandit, count, np.random.default_rng(20308))
    shares = np.stack([bandit(runs.n[:, :e], runs.y[:, :e]) for e in range(20)], axis=1)
    effects = [
        aipw_effect(cells_of(runs, r, 20), BINARY, "a", "b", {"a": 1 - shares[r], "b": shares[r]}).effect_size
        for r in range(count)
    ]
    units, hits = runs.n.sum(axis=1), runs.y.sum(axis=1)
    pooled = hits[:, 1] / units[:, 1] - hits[:, 0] / units[:, 0]
    bias, fooled = (
        float((some.mean() - .015) / (some.std() / math.sqrt(count))) for some in (np.array(effects, float), pooled)
    )
    show("AIPW bias in standard errors", bias, "within ±3")
    show("pooled bias in standard errors", fooled, "beyond ±3")
    assert abs(bias) <= 3
    assert abs(fooled) > 3
