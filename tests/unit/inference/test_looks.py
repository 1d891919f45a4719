"""Score, variance and evidence of a pair: the formulas of STATISTICS §4, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from trimtab.engine import Cells
from trimtab.inference.looks import Looks, looks
from trimtab.inference.pairs import pair_of
from trimtab.schema.experiment import MetricKind
from unit.inference.given import Sums, binary, cells_of, two_variant_rows, value_rows, values_cell


def last(cells: Cells, kind: MetricKind = MetricKind.BINARY, control: str = "a", treatment: str = "b") -> Looks:
    return looks(pair_of(cells, kind, control, treatment), kind).last


def test_the_score_of_a_binary_metric_has_the_hypergeometric_mean_and_variance() -> None:
    """S = Σ(Y_k − Y·n_k/N), whose variance given the margins scipy computes too."""
    from scipy import stats

    rows = [[binary(40, 11), binary(25, 9)], [binary(7, 0), binary(30, 4)]]
    found = last(cells_of(rows))
    tables = [stats.hypergeom(n_0 + n_1, s_0 + s_1, n_1) for (n_0, s_0, _), (n_1, s_1, _) in rows]
    assert found.score == pytest.approx(9 + 4 - sum(table.mean() for table in tables), rel=1e-12)
    assert found.variance == pytest.approx(sum(table.var() for table in tables), rel=1e-12)


def test_the_variance_of_other_metrics_is_the_larger_of_two() -> None:
    """Pooled over both variants, or each variant's own; here the small variant is the noisy one, so its own counts."""
    control, treatment = [5, 6, 5, 6, 5, 6, 5, 6], [-40, 55]
    found = last(cells_of([[values_cell(control), values_cell(treatment)]]), MetricKind.CONTINUOUS)
    harmonic = 8 * 2 / 10
    pooled = harmonic * np.var(control + treatment, ddof=1)
    own = harmonic**2 * (np.var(control, ddof=1) / 8 + np.var(treatment, ddof=1) / 2)
    assert own > pooled
    assert found.variance == pytest.approx(own, rel=1e-12)
    assert found.own_variance == pytest.approx(own, rel=1e-12)


@given(two_variant_rows())
def test_swapping_the_variants_turns_the_sign_and_nothing_else(rows: list[list[Sums]]) -> None:
    there, back = last(cells_of(rows)), last(cells_of(rows), control="b", treatment="a")
    assert there.score == -back.score
    assert there.variance == pytest.approx(back.variance, rel=1e-12)
    assert there.evidence == pytest.approx(back.evidence, rel=1e-12)


@given(two_variant_rows())
def test_the_order_of_epochs_does_not_matter_at_the_end(rows: list[list[Sums]]) -> None:
    one, other = last(cells_of(rows)), last(cells_of(rows[::-1]))
    assert one.score == pytest.approx(other.score, rel=1e-9, abs=1e-9)
    assert one.variance == pytest.approx(other.variance, rel=1e-9, abs=1e-12)


@given(value_rows())
def test_a_common_shift_of_an_epoch_says_nothing(rows: list[list[list[int]]]) -> None:
    """Levels are free: adding 10⁹ to every value of an epoch leaves S and V as they were, to the last digits."""
    moved = [[[x + 10**9 for x in cell] for cell in rows[0]], *rows[1:]]
    one, other = (
        last(cells_of([[values_cell(cell) for cell in row] for row in some]), MetricKind.CONTINUOUS)
        for some in (rows, moved)
    )
    assert one.score == other.score
    assert one.variance == other.variance


@given(two_variant_rows())
def test_epochs_with_one_variant_say_nothing(rows: list[list[Sums]]) -> None:
    one, more = last(cells_of(rows)), last(cells_of([*rows, [binary(500, 400), binary(0, 0)]]))
    assert (one.score, one.variance, one.weight) == (more.score, more.variance, more.weight)
    assert one.evidence == more.evidence


def test_no_epoch_at_all_is_no_evidence() -> None:
    found = last(Cells.gather("ab", {}))
    assert (found.score, found.variance, found.evidence) == (0, 0, 0)


def test_evidence_counts_the_rarer_outcome_on_the_smaller_side() -> None:
    """Ten such events, or 100 units of each variant, are enough."""
    assert last(cells_of([[binary(900, 90), binary(100, 10)]])).evidence == pytest.approx(1)
    assert last(cells_of([[binary(900, 810), binary(100, 90)]])).evidence == pytest.approx(1)
    values = [[values_cell([1, 2] * 400), values_cell([1, 2] * 50)]]
    assert last(cells_of(values), MetricKind.COUNT).evidence == pytest.approx(1)
