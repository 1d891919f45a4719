"""Guardrail metrics: harm beyond the limit stops, in either direction, and the limit is what the metric allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from trimtab.inference import HARM_ALPHA, harm_test, plan_test
from trimtab.inference.harm import harm_looks
from trimtab.inference.looks import looks
from trimtab.inference.pairs import pair_of
from trimtab.schema.experiment import MetricKind
from unit.inference.given import Sums, binary, cells_of, metric, two_variant_rows, values_cell


def stops(rows: list[list[Sums]], of: dict[str, object] | None = None, **changes: float) -> bool:
    cells, guarded = cells_of(rows), metric(**{"direction": "decrease", "harm_limit": 0.0, **(of or {})})
    plan = plan_test(cells, guarded, "a", "b", alpha=HARM_ALPHA)
    return harm_test(cells, guarded, "a", "b", plan=plan, **changes).stop


def test_doubled_errors_stop_a_variant() -> None:
    assert stops([[binary(5000, 50), binary(5000, 110)]])
    assert not stops([[binary(5000, 110), binary(5000, 50)]])


def test_where_more_is_better_less_is_harm() -> None:
    rows = [[binary(5000, 500), binary(5000, 300)]]
    assert stops(rows, {"direction": "increase"})
    assert not stops(rows, {"direction": "decrease"})


def test_harm_within_the_limit_is_allowed() -> None:
    rows = [[binary(5000, 50), binary(5000, 110)]]
    assert not stops(rows, {"harm_limit": .012})
    assert not stops(rows, relative_limit=1.2)
    assert stops(rows, relative_limit=.2)


def test_slower_pages_stop_a_variant() -> None:
    rows = [[values_cell([100, 120, 140] * 100), values_cell([130, 150, 170] * 100)]]
    assert stops(rows, {"kind": "continuous"})
    assert not stops(rows, {"kind": "continuous", "harm_limit": 29.0})


def test_nothing_stops_before_the_minimum_evidence() -> None:
    cells, guarded = cells_of([[binary(500, 0), binary(500, 19)]]), metric(direction="decrease", harm_limit=0.0)
    found = harm_test(cells, guarded, "a", "b", plan=None)
    assert not found.stop
    assert found.effect_size == pytest.approx(.038)


@given(two_variant_rows())
def test_without_a_limit_the_variance_is_the_hypergeometric_one(rows: list[list[Sums]]) -> None:
    """Epochs of two units or more; a single pair's N − 1 is taken as 1 either way."""
    pair = pair_of(cells_of(rows), MetricKind.BINARY, "a", "b")
    found = harm_looks(pair, metric(direction="decrease"), 0.0)
    assert found.variance == pytest.approx(looks(pair, MetricKind.BINARY).variance, rel=1e-9, abs=1e-12)


@given(two_variant_rows())
def test_success_and_failure_mirror_each_other(rows: list[list[Sums]]) -> None:
    """Less of a good thing is as harmful as more of its opposite."""
    opposite = [[binary(n, n - s) for n, s, _ in row] for row in rows]
    good = harm_looks(pair_of(cells_of(rows), MetricKind.BINARY, "a", "b"), metric(), .01)
    bad = harm_looks(pair_of(cells_of(opposite), MetricKind.BINARY, "a", "b"), metric(direction="decrease"), .01)
    assert good.score == pytest.approx(bad.score, rel=1e-9, abs=1e-9)
    assert good.variance == pytest.approx(bad.variance, rel=1e-9, abs=1e-9)
    assert np.isfinite(good.variance).all()
