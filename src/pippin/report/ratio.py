"""B over A: one ratio of a comparison, with its interval or the reason why it has none."""

from __future__ import annotations

import numpy as np

from pippin.report.intervals import Runs, log_ratio
from pippin.report.quantities import Section

FEWEST_WINDOWS = 5


class Ratio(Section):
    """B over A, on one basis. `low` and `high` are null where `unknown` says why."""

    ratio: float
    low: float | None
    high: float | None
    unit: str
    basis: str
    a: float
    b: float

    @property
    def can_tell(self) -> bool:
        """Whether the interval leaves 1 out."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    def scaled(self, a: float, b: float, unit: str, basis: str) -> Ratio:
        """The ratio per something of which A takes `a` and B takes `b`, known exactly."""
        factor = a / b
        ends = [None if end is None else end * factor for end in (self.low, self.high)]
        return Ratio(
            ratio=self.ratio * factor,
            low=ends[0],
            high=ends[1],
            unit=unit,
            basis=basis,
            a=self.a / a,
            b=self.b / b,
        )


def ratio_of(
    name: str, a: tuple[float, Runs], b: tuple[float, Runs], unit: str, basis: str, unknown: dict[str, str]
) -> Ratio:
    """From each side's value and the logs it is made of; one run of one window has no spread to go by."""
    low = high = None
    few = [f"{label} has {n} windows" for label, n in (("A", _count(a[1])), ("B", _count(b[1])))]
    short = [words for words, (_, runs) in zip(few, (a, b), strict=True) if _count(runs) < FEWEST_WINDOWS]
    if short:
        reason = f"{' and '.join(short)}, and an interval needs {FEWEST_WINDOWS}"
        without_interval(name, reason, unknown)
    else:
        low, high = ends_of(a[1], b[1])
    return Ratio(ratio=b[0] / a[0], low=low, high=high, unit=unit, basis=basis, a=a[0], b=b[0])


def _count(runs: Runs) -> int:
    return sum(run.size for run in runs)


def ends_of(a: Runs, b: Runs) -> tuple[float, float]:
    found = log_ratio(a, b)
    return float(np.exp(found.value - found.reach)), float(np.exp(found.value + found.reach))


def without_interval(name: str, reason: str, unknown: dict[str, str]) -> None:
    unknown |= {f"ratios.{name}.{end}": reason for end in ("low", "high")}
