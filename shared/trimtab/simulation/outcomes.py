"""What a unit does: the distribution of one outcome around its expectation, and exact sums over many.

Each kind of metric has one class here. `rate` is what a world varies over time and between variants; `mean` says what
expectation belongs to it, and the draws have exactly that expectation: truth and sampler are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from trimtab.errors import InvalidInput
from trimtab.schema.experiment import MetricKind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST = 2**62  # what a sum of squares in an int64 may reach


class Outcome(Protocol):
    """A metric's kind with all that its distribution needs beside the rate."""

    @property
    def kind(self) -> MetricKind: ...

    @property
    def scale(self) -> int:
        """Fixed-point factor: sums add up round-half-even(x·scale)."""

    @property
    def cap(self) -> float | None:
        """Values beyond are clipped to it, as the experiment declares."""

    def mean(self, rate: Floats) -> Floats:
        """The expectation of one unit's outcome, in the metric's own unit; of any shape (…, K)."""

    def draw(self, n: Ints, rate: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Σ and Σ² of n units in each cell, both shaped like `n`; `rate` broadcasts against it."""


@dataclass(frozen=True)
class Binary:
    """0 or 1; the rate is the chance of 1."""

    kind: ClassVar[MetricKind] = MetricKind.BINARY
    scale: ClassVar[int] = 1
    cap: ClassVar[float | None] = None

    def mean(self, rate: Floats) -> Floats:
        return rate

    def draw(self, n: Ints, rate: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
        successes = rng.binomial(n, rate)
        return successes, successes


@dataclass(frozen=True)
class Count:
    """Whole numbers with the rate as mean and `dispersion` ≥ 1 times that as variance; 1 is Poisson."""

    dispersion: float = 2.0
    kind: ClassVar[MetricKind] = MetricKind.COUNT
    scale: ClassVar[int] = 1
    cap: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        _check("dispersion", self.dispersion, self.dispersion >= 1, "of at least 1, which is Poisson's")

    def mean(self, rate: Floats) -> Floats:
        return rate

    def draw(self, n: Ints, rate: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
        each = _per_unit(n, rate)
        if self.dispersion > 1:  # Poisson with gamma rates
            each = rng.gamma(each / (self.dispersion - 1), self.dispersion - 1)
        return _sums(n, rng.poisson(each))


@dataclass(frozen=True)
class Continuous:
    """Normal around the rate with standard deviation `sd`, in the metric's own unit."""

    sd: float = 1.0
    kind: ClassVar[MetricKind] = MetricKind.CONTINUOUS
    scale: ClassVar[int] = 1000
    cap: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        _check("sd", self.sd, self.sd >= 0, "of at least 0")

    def mean(self, rate: Floats) -> Floats:
        return rate

    def draw(self, n: Ints, rate: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
        return _sums(n, np.rint(rng.normal(_per_unit(n, rate), self.sd) * self.scale))


@dataclass(frozen=True)
class Revenue:
    """Nothing, or with the rate as its chance a log-normal order: heavy-tailed, clipped at `cap`.

    `value` is the mean order before clipping, `log_sd` the standard deviation of its logarithm (1.5: the largest
    hundredth of the orders brings a fifth of the money).
    """

    value: float = 50.0
    log_sd: float = 1.5
    cap: float = 5000.0
    kind: ClassVar[MetricKind] = MetricKind.REVENUE
    scale: ClassVar[int] = 100

    def __post_init__(self) -> None:
        for name in ("value", "log_sd", "cap"):
            _check(name, getattr(self, name), getattr(self, name) > 0, "above 0")

    def mean(self, rate: Floats) -> Floats:
        """The rate times the mean of an order as it counts: clipped."""
        z = (np.log(self.cap) - self._log_mean) / self.log_sd
        return rate * float(self.value * ndtr(z - self.log_sd) + self.cap * ndtr(-z))

    def draw(self, n: Ints, rate: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
        orders = rng.binomial(n, rate)
        values = rng.lognormal(self._log_mean, self.log_sd, int(orders.sum()))
        return _sums(orders, np.rint(np.minimum(values, self.cap) * self.scale))

    @property
    def _log_mean(self) -> float:
        return float(np.log(self.value) - self.log_sd**2 / 2)


def _check(field: str, value: float, fits: bool, wanted: str) -> None:
    if not (fits and np.isfinite(value)):
        raise InvalidInput(f"{field} is {value:g}: give a finite number {wanted}.", field=field, value=value)


def _per_unit(n: Ints, rate: Floats) -> Floats:
    """The rate of each single unit, cell after cell."""
    return np.repeat(np.broadcast_to(rate, n.shape).ravel(), n.ravel())


def _sums(n: Ints, values: npt.NDArray[np.generic]) -> tuple[Ints, Ints]:
    """Exact Σ and Σ² of consecutive stretches of `values`, as many in each as `n` says."""
    whole = values.astype(np.int64)
    largest = int(np.abs(whole).max(initial=0))
    if largest * largest * len(whole) >= _MOST:
        raise InvalidInput(
            f"A value of {largest:,} scaled units is too large for exact sums of {len(whole):,}; cap it.",
            field="cap",
            value=largest,
        )
    ends = np.cumsum(n.ravel())
    first, second = (np.concatenate([[0], np.cumsum(column)]) for column in (whole, whole * whole))
    starts = ends - n.ravel()
    return (first[ends] - first[starts]).reshape(n.shape), (second[ends] - second[starts]).reshape(n.shape)
