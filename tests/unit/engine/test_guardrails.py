"""All limits hold at once, in the published parts; where no weights can, the least gives way and says so."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trimtab.engine.guardrails import Wait, make_box
from trimtab.engine.verdicts import bound_by, verdicts
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import VerdictCode
from unit.engine.given import limits_of, parts_of, shares_of

IDS = "abcdefgh"


@given(st.data(), st.integers(1, 8))
def test_published_parts_violate_no_limit(data: st.DataObject, size: int) -> None:
    """Floor, ceiling and step hold together in whole parts, unless the step had to be widened."""
    variants = IDS[:size]
    previous, limits = data.draw(parts_of(size)), data.draw(limits_of(variants))
    box = make_box(variants, previous, limits)
    parts = box.nearest(data.draw(shares_of(size)))
    assert sum(parts) == PARTS
    assert not box.relaxed
    for variant, before, after in zip(variants, previous, parts, strict=True):
        floor = min(limits.floor(variant), (PARTS // size) / PARTS)
        assert after >= floor * PARTS - .01
        assert after < max(limits.ceiling(variant), floor) * PARTS + 1  # ceilings of 1/3 for three are 333,334 for one
        assert abs(after - before) <= box.step
    if not box.wider:
        assert box.step <= limits.max_step * PARTS + .01


@given(st.data(), st.integers(2, 6))
def test_the_step_is_widened_to_the_least_that_works(data: st.DataObject, size: int) -> None:
    """One part less and the box would be empty."""
    variants = IDS[:size]
    box = make_box(variants, data.draw(parts_of(size)), data.draw(limits_of(variants)))
    assert box.feasible
    if box.wider:
        narrower = replace(box, step=box.step - 1)
        assert not narrower.feasible


def test_a_variant_added_without_a_share_reaches_its_floor_at_once() -> None:
    """The floor outranks the step, and `step_widened` says by how much."""
    box = make_box("abc", [500_000, 500_000, 0], Constraints(min_weight=.05, max_step=.01))
    parts = box.nearest([.4, .4, .2])
    assert parts[2] == 50_000
    codes = [verdict.code for verdict in verdicts("abc", box, [.4, .4, .2], parts)]
    assert codes[0] is VerdictCode.STEP_WIDENED


def test_halted_pinned_and_waiting_variants_keep_their_places() -> None:
    """Halted at 0, a pin at its share, a variant without evidence at its entry weight; the others move."""
    limits = Constraints(min_weight=.05, max_step=.1, pins={"a": .2})
    previous = [200_000, 300_000, 0, 100_000, 400_000]
    box = make_box("abcde", previous, limits, halted="c", awaiting={"d": Wait(100_000, 7)})
    wanted = [0.0, 1.0, 0.0, 0.1, 0.0]
    parts = box.nearest(wanted)
    assert parts == [200_000, 400_000, 0, 100_000, 300_000]
    bounds = [bound_by(k, box, wanted[k], parts[k]) for k in range(5)]
    assert bounds == [
        VerdictCode.PIN,
        VerdictCode.MAX_STEP,
        VerdictCode.HALTED,
        VerdictCode.AWAITING_EVIDENCE,
        VerdictCode.MAX_STEP,
    ]


def test_limits_that_leave_no_weights_give_way_and_say_so() -> None:
    """With all but one halted, that one's ceiling cannot hold: somebody must serve everybody."""
    box = make_box("ab", [500_000, 500_000], Constraints(ceilings={"a": .6}), halted="b")
    assert box.nearest([.5, .5]) == [PARTS, 0]
    assert box.relaxed == "pins and ceilings"


def test_floors_of_thirds_fit_into_a_million_parts() -> None:
    """A floor of exactly 1/3 for three variants means 333,333 parts, for 333,334 would not fit."""
    box = make_box("abc", [333_334, 333_333, 333_333], Constraints(min_weight=1 / 3))
    assert sum(box.nearest([1.0, 0.0, 0.0])) == PARTS
