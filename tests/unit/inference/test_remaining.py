"""The value remaining: Scott's quantile without his draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from trimtab.engine import Belief, Cells, estimate
from trimtab.errors import InvalidInput
from trimtab.inference import ValueRemaining, value_remaining
from unit.inference.given import binary, cells_of, metric, two_variant_rows, values_cell

SCOTT = [((10, 20, 30, 33), (100, 102, 120, 130)), ((200, 208, 190), (5000, 5000, 5000)), ((900, 950), (1000, 1000))]


def belief_of(cells: Cells, kind: str = "binary", *, higher_is_better: bool = True) -> Belief:
    found = estimate(cells, metric(kind).kind)
    return Belief.of(
        found.theta, found.information, found.precision, found.prior_sd, higher_is_better=higher_is_better
    )


def remaining(cells: Cells, kind: str = "binary", direction: str = "increase", level: float = .95) -> ValueRemaining:
    belief = belief_of(cells, kind, higher_is_better=direction == "increase")
    return value_remaining(belief, cells, metric(kind, direction=direction), level=level)


@pytest.mark.parametrize(("successes", "trials"), SCOTT)
def test_with_many_trials_it_is_the_quantile_of_scotts_draws(
    successes: tuple[int, ...], trials: tuple[int, ...]
) -> None:
    """(max_k θ_k − θ*)/θ* over 400,000 joint draws of Beta posteriors, at a hundredfold trials, where the prior of
    effects has no say any more: within 2 % of it and a ten-thousandth.
    """
    y, n = 100 * np.array(successes), 100 * np.array(trials)
    found = remaining(cells_of([[binary(int(b), int(a)) for a, b in zip(y, n, strict=True)]]))
    draws = np.random.default_rng(5).beta(y + 1, n - y + 1, (400_000, len(y)))
    leader = int(np.argmax(y / n))
    expected = float(np.quantile((draws.max(axis=1) - draws[:, leader]) / draws[:, leader], .95))
    assert found.leader == "abcdefgh"[leader]
    assert found.rel_value == pytest.approx(expected, rel=.02, abs=1e-4)


@pytest.mark.parametrize("kind", ["count", "revenue", "continuous"])
@pytest.mark.parametrize("direction", ["increase", "decrease"])
def test_of_every_metric_it_is_the_quantile_of_draws_of_the_belief(kind: str, direction: str) -> None:
    """Contrasts drawn from N(θ̂, Σ): the 95 % point of the greatest advantage over the leader, on the metric's scale."""
    rows = [[values_cell([3, 5, 9, 2] * 60), values_cell([4, 5, 9, 2] * 60), values_cell([3, 6, 9, 2] * 50)]]
    cells = cells_of(rows)
    sign = 1 if direction == "increase" else -1
    belief = belief_of(cells, kind, higher_is_better=sign > 0)
    draws = sign * np.random.default_rng(6).multivariate_normal(belief.theta, belief.covariance, 400_000)
    k = int(belief.p_best.argmax())
    ahead = float(np.quantile(draws.max(axis=1) - draws[:, k], .95))
    found = remaining(cells, kind, direction)
    expected = ahead if kind == "continuous" else None
    if expected is None:
        assert found.rel_value == pytest.approx(abs(np.expm1(sign * ahead)), rel=.02)
    else:
        assert found.value == pytest.approx(expected, rel=.02)


@given(two_variant_rows())
def test_it_is_finite_never_negative_and_nothing_where_the_leader_is_beyond_doubt(
    rows: list[list[tuple[int, int, int]]],
) -> None:
    cells = cells_of(rows)
    found, belief = remaining(cells), belief_of(cells)
    assert np.isfinite(found.value)
    assert found.value >= 0
    assert (found.value == 0) >= (belief.p_best.max() >= .95)


def test_a_higher_level_leaves_more() -> None:
    cells = cells_of([[binary(1000, 100), binary(1000, 104)]])
    values = [remaining(cells, level=level).value for level in (.5, .8, .95, .99)]
    assert values == sorted(values)
    assert values[0] == 0
    with pytest.raises(InvalidInput, match="level"):
        remaining(cells, level=95)
