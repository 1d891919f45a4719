"""The e-process of the traffic split, asked after each epoch.

Ville: P(ever E ≥ 1000) ≤ .001, so among R = 500 correct runs (full 2,000) at most .001 + 3√(.001·.999/R) = .0052 may
alarm (full .0031).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from worlds import show, size

from trimtab.inference.sample_ratio import ALARM, log_evalue

Floats = npt.NDArray[np.float64]
RUNS = size(500, 2000)
BAR = .001 + 3 * math.sqrt(.001 * .999 / RUNS)


def drawn(weights: Floats, runs: int, rng: np.random.Generator, *, batch: int = 500, loss: float = 0.0) -> Floats:
    """(R, E, K) units under served `weights` (E, K), the last variant losing the share `loss` of its own."""
    n = np.stack([rng.multinomial(batch, row, runs) for row in weights], axis=1)
    n[..., -1] = rng.binomial(n[..., -1], 1 - loss)
    return n.astype(float)


def alarms(n: Floats, weights: Floats) -> npt.NDArray[np.bool_]:
    """(R, E) E ≥ 1000 after each epoch."""
    looked = [log_evalue(n[:, :e], np.broadcast_to(weights[:e], n[:, :e].shape)) for e in range(1, n.shape[1] + 1)]
    return np.stack(looked, axis=1) >= math.log(ALARM)


def moving(epochs: int) -> Floats:
    share = np.linspace(.1, .9, epochs)
    return np.stack([1 - share, share], axis=1)


@pytest.mark.parametrize(
    "weights",
    [np.full((60, 2), .5), moving(60), np.tile([.2, .3, .5], (60, 1))],
    ids=["even", "moving", "three variants"],
)
def test_a_correct_split_rarely_alarms(weights: Floats) -> None:
    """60 epochs of 500. Teeth: χ² at p < .001 after each epoch alarms more often than Ville allows."""
    n = drawn(weights, RUNS, np.random.default_rng(20311))
    null = float(alarms(n, weights).any(axis=1).mean())
    expected = (n.sum(axis=2, keepdims=True) * weights).cumsum(axis=1)
    chi2 = ((n.cumsum(axis=1) - expected) ** 2 / expected).sum(axis=2)
    variants = weights.shape[1]
    naive = float((stats.chi2.sf(chi2, variants - 1) < .001).any(axis=1).mean())
    show("correct split: ever alarmed", null, f"≤ {BAR:.4f}")
    show("correct split: χ² at .001 at every look", naive, f"> {BAR:.4f}")
    assert null <= BAR
    assert naive > BAR


@pytest.mark.parametrize("weights", [(.5, .5), (.7, .3), (.3, .7)], ids=str)
def test_a_loss_of_a_tenth_is_found(weights: tuple[float, float]) -> None:
    """Found in ≥ .99 of runs within 100 epochs of 500, median ≤ 20. R = 300 (full 2,000)."""
    served, runs = np.tile(weights, (100, 1)), size(300, 2000)
    hit = alarms(drawn(served, runs, np.random.default_rng(20312), loss=.1), served)
    found = float(hit.any(axis=1).mean())
    median = float(np.median(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 1000)))
    show(f"10 % loss at {weights}: found", found, "≥ .99")
    show(f"10 % loss at {weights}: median epochs", median, "≤ 20")
    assert found >= .99
    assert median <= 20


def test_against_one_fixed_split_moving_shares_look_like_a_loss() -> None:
    """Teeth: correct traffic with moving shares, expected by the average share, alarms always."""
    weights = moving(60)
    n = drawn(weights, 50, np.random.default_rng(20313))
    average = np.tile([.5, .5], (60, 1))
    assert alarms(n, average).any(axis=1).all()
    assert not alarms(n, weights).any()


def test_counting_events_as_if_they_were_units_alarms_though_units_split_as_served() -> None:
    """Why `unit: event` forgoes this test: units of one to eleven events, six in the mean, 60 epochs of 500 events.

    The split of units is right. R = 500. Teeth: counted as units, they alarm in over a third of runs.
    """
    rng, weights, runs = np.random.default_rng(20314), np.full((60, 2), .5), 500
    events = rng.integers(1, 12, (runs, 60, 83))
    treated = rng.random(events.shape) < .5
    units = np.stack([(~treated).sum(axis=2), treated.sum(axis=2)], axis=-1).astype(float)
    counted = np.stack([(events * ~treated).sum(axis=2), (events * treated).sum(axis=2)], axis=-1).astype(float)
    right, wrong = (float(alarms(n, weights).any(axis=1).mean()) for n in (units, counted))
    show("split of units: ever alarmed", right, "≤ .001 + 3 s.e.")
    show("split of their events: ever alarmed", wrong, "≥ .33")
    assert right <= .001 + 3 * math.sqrt(.001 * .999 / runs)
    assert wrong >= .33
