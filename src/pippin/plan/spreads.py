"""Widths of prediction intervals: quantiles of held-out errors, by group of system and kind of model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pippin.plan.calibrate import row_weights
from pippin.plan.calibration import Known, spread_groups
from pippin.plan.layout import Floats
from pippin.plan.runs import Run

COVERAGE = 0.8
# A group's own quantile counts as much as this many independent models' worth of the wider group's.
_SHRINK = 3.0
# The chips and software that the rows have are few: others are taken to be so much less certain than all rows
# together, at least.
_UNKNOWN = 1.25


@dataclass(frozen=True)
class HeldOut:
    """A row's error (logarithm of predicted over measured) by a calibration that did not see it."""

    run: Run
    error: float
    fold: str
    known: Known  # of its system, to the calibration that did not see the row

    @property
    def groups(self) -> list[str]:
        """The groups whose width the row teaches."""
        assert self.run.system is not None
        kind = "experts" if self.run.shape.moe else "dense"
        return spread_groups(self.run.system, kind, self.known)


def spreads_of(held: Sequence[HeldOut]) -> dict[str, float]:
    """Half widths of 80 % intervals in logarithms, for every group that has rows.

    Groups run from one software on one chip to all rows; a small one leans on all. Rows of a chip or software
    that their calibration had not seen teach how wide intervals of unknown ones are.
    """
    groups: dict[str, list[HeldOut]] = defaultdict(list)
    for h in held:
        for name in h.groups:
            groups[name].append(h)
    every = _quantile(held)
    found = {"all": every}
    for name, rows in groups.items():
        if name != "all":
            least = _UNKNOWN * every if "unknown" in name else 0.0
            found[name] = max(_leaning(rows, every), least)
    return found


def _leaning(rows: Sequence[HeldOut], every: float) -> float:
    independent = len({(h.run.source, h.run.model) for h in rows})
    square = independent * _quantile(rows) ** 2 + _SHRINK * every**2
    return float(np.sqrt(square / (independent + _SHRINK)))


def _quantile(held: Sequence[HeldOut]) -> float:
    """The size of error that the coverage's share of the rows' weight stays below."""
    sizes: Floats = np.abs([h.error for h in held])
    weights = row_weights([h.run for h in held])
    order = np.argsort(sizes)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(sizes[order][min(int(np.searchsorted(reached, COVERAGE)), len(sizes) - 1)])
