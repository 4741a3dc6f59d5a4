"""A number with its interval, and how intervals pass through a formula.

An interval is meant to hold the truth four times out of five. An input is taken as log-normal with a piece
of its own on each side of the middle; inputs are independent. A formula is evaluated at low-discrepancy
points, the same each time, and the tenth and ninetieth percentile of what it gives are its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np

from pippin.plan.layout import Floats

COVERAGE = 0.8
_POINTS = 2048
_BASES = (2, 3, 5, 7, 11, 13)  # one dimension each
_Z = NormalDist().inv_cdf((1 + COVERAGE) / 2)

INTERVAL_BASIS = (
    "meant to hold the truth four times out of five; over all held-out runs they do, on some chips less "
    "often, and on chips without runs it is untested (docs/accuracy.md)"
)


@dataclass(frozen=True)
class Estimate:
    """A positive number with an 80 % interval, `low <= value <= high`."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.value <= self.high:
            raise ValueError(f"not an interval: {self.low} <= {self.value} <= {self.high}")

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A number that is taken as given."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> Estimate:
        """The same number in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def inverse(self, numerator: float = 1.0) -> Estimate:
        """`numerator / self`; zero turns into infinity."""
        low, value, high = (numerator / x if x else math.inf for x in (self.high, self.value, self.low))
        return Estimate(value, low, high)

    def as_list(self) -> list[float | None]:
        """[low, high]; None where there is no bound."""
        return [x if math.isfinite(x) else None for x in (self.low, self.high)]

    @staticmethod
    def fields(name: str, estimate: Estimate | None) -> dict[str, float | None]:
        """`name`, `name_low` and `name_high` of a report's section; all None where there is no estimate."""
        low, high = estimate.as_list() if estimate else (None, None)
        return {name: estimate.value if estimate else None, f"{name}_low": low, f"{name}_high": high}


@cache
def _normal_points() -> Floats:
    """Standard normal deviates, [points, dimensions]: a Halton sequence in prime bases, each dimension
    replaced by its ranks so that every one has exactly the quantiles of a normal."""
    sequence = np.stack([_van_der_corput(base) for base in _BASES], axis=1)
    ranks = sequence.argsort(axis=0).argsort(axis=0)
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS)])
    return quantiles[ranks]


def _van_der_corput(base: int) -> Floats:
    """0, 1, 2, ... with their digits mirrored at the point."""
    left, mirrored, weight = np.arange(_POINTS), np.zeros(_POINTS), 1.0
    while left.any():
        weight /= base
        mirrored += weight * (left % base)
        left = left // base
    return mirrored


def draws(estimate: Estimate, dimension: int) -> Floats:
    """The input at every point; inputs of one formula take different dimensions (0 to 5)."""
    if not 0 < estimate.low <= estimate.high < math.inf:
        return np.full(_POINTS, estimate.value)
    deviates = _normal_points()[:, dimension]
    above, below = math.log(estimate.high / estimate.value), math.log(estimate.value / estimate.low)
    return np.asarray(estimate.value * np.exp(deviates * np.where(deviates > 0, above, below) / _Z))


def propagate(formula: Callable[..., Any], *inputs: Estimate) -> Estimate:
    """The formula's value at the inputs' values, with the interval over their intervals.

    Args:
        formula: takes one float or array per input, gives a float or array without a negative.
        inputs: at most six.
    """
    value = float(formula(*(x.value for x in inputs)))
    spread = np.asarray(formula(*(draws(x, d) for d, x in enumerate(inputs))), float)
    low, high = np.quantile(np.broadcast_to(spread, (_POINTS,)), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Estimate(value, min(value, float(low)), max(value, float(high)))
