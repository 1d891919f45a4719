"""Named data for the engine's tests: hypothesis strategies and small builders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from trimtab.engine import Cells, estimate_inputs
from trimtab.schema.base import PARTS
from trimtab.schema.constraints import Constraints
from trimtab.schema.decision import Inputs
from trimtab.schema.experiment import Experiment

NOW = 1_800_000_000_000
IDS = "abcdefghijklmnopqrstuvwxyz"

Sums = tuple[int, int, int]


def binary(n: int, successes: int) -> Sums:
    """Sums of a cell with `successes` ones among `n`."""
    return n, successes, successes


def cells_of(rows: Sequence[Sequence[Sums]], *, scale: int = 1, ids: Sequence[str] = IDS) -> Cells:
    """Cells from one row per epoch with one triple of sums per variant."""
    sums = {(e, ids[k]): cell for e, row in enumerate(rows, 1) for k, cell in enumerate(row)}
    return Cells.gather(ids[: len(rows[0])], sums, scale=scale)


def values_cell(values: Sequence[int]) -> Sums:
    """Sums of a cell that saw these scaled integer values."""
    return len(values), sum(values), sum(value * value for value in values)


def experiment(cells: Cells, kind: str = "binary", **changes: Any) -> Experiment:
    """A running experiment over the variants of `cells`; `direction` and `scale` go to its metric."""
    metric: dict[str, Any] = {"name": "m", "kind": kind}
    metric |= {key: changes.pop(key) for key in ("direction", "scale") if key in changes}
    limits = changes.pop("constraints", {"min_trials": 0})
    return Experiment.parse(
        {
            "id": "x",
            "variants": [{"id": variant} for variant in cells.variants],
            "metrics": [metric],
            "salt": "s",
            "constraints": {"min_weight": 0.0, **limits},
            **changes,
        }
    )


def even(variants: Sequence[str]) -> dict[str, int]:
    """Equal parts that add up to 1,000,000."""
    share, rest = divmod(PARTS, len(variants))
    return {variant: share + (place < rest) for place, variant in enumerate(variants)}


def inputs_of(cells: Cells, kind: str = "binary", *, previous: dict[str, int] | None = None, **changes: Any) -> Inputs:
    """Inputs of a decision about `cells`; keyword arguments of `estimate_inputs` or of `experiment`."""
    names = ("changed_at", "halted", "entered_later", "facts", "now", "retained")
    circumstances: dict[str, Any] = {"now": NOW, **{name: changes.pop(name) for name in names if name in changes}}
    return estimate_inputs(
        cells, experiment(cells, kind, **changes), previous=previous or even(cells.variants), **circumstances
    )


@st.composite
def binary_rows(
    draw: st.DrawFn, *, min_variants: int = 1, max_variants: int = 4, max_epochs: int = 3
) -> list[list[Sums]]:
    """Epochs × variants of successes among trials, empty cells included."""
    size = draw(st.integers(min_variants, max_variants))
    cell = st.integers(0, 3000).flatmap(lambda n: st.integers(0, n).map(lambda s: binary(n, s)))
    return draw(st.lists(st.lists(cell, min_size=size, max_size=size), min_size=1, max_size=max_epochs))


@st.composite
def parts_of(draw: st.DrawFn, size: int, total: int = PARTS) -> list[int]:
    """`size` parts ≥ 0 that add up to `total`."""
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=size - 1, max_size=size - 1)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, total], strict=True)]


@st.composite
def shares_of(draw: st.DrawFn, size: int) -> list[float]:
    """`size` shares ≥ 0 that add up to 1."""
    return [part / PARTS for part in draw(parts_of(size))]


@st.composite
def limits_of(draw: st.DrawFn, variants: Sequence[str]) -> Constraints:
    """Constraints whose floors and ceilings leave room for some weights."""
    size = len(variants)
    floors = {v: draw(st.floats(0, 1 / size)) for v in draw(st.sets(st.sampled_from(variants)))}
    ceilings = {v: draw(st.floats(1 / size, 1)) for v in draw(st.sets(st.sampled_from(variants)))}
    return Constraints(
        min_weight=draw(st.floats(0, 1 / size)),
        max_step=draw(st.floats(1e-6, 1)),
        min_trials=0,
        cooldown_seconds=0,
        floors=floors,
        ceilings=ceilings,
    )
