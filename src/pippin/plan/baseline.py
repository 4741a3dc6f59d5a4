"""The naive prediction that a planner must beat: one constant FLOP/s per chip and precision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pippin.catalog.chips import load_chips
from pippin.plan.layout import Floats
from pippin.plan.runs import Run, model_flops


@dataclass(frozen=True)
class Baseline:
    """Model FLOP/s a chip, by chip and precision, and what stands in where there is none."""

    by_pair: dict[tuple[str, str], float]
    by_precision: dict[str, float]  # share of the chip's rated bfloat16 peak
    share: float

    @classmethod
    def fit(cls, runs: Sequence[Run]) -> Baseline:
        """The medians, which minimise the mean absolute error of the logarithm."""
        pairs: dict[tuple[str, str], list[float]] = defaultdict(list)
        shares: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            rate = achieved_flops(run)
            pairs[run.chip_id, run.precision].append(rate)
            shares[run.precision].append(rate / _peak(run.chip_id))
        every = [share for group in shares.values() for share in group]
        return cls(
            {pair: float(np.median(rates)) for pair, rates in pairs.items()},
            {precision: float(np.median(group)) for precision, group in shares.items()},
            float(np.median(every)),
        )

    def step_seconds(self, runs: Sequence[Run]) -> Floats:
        """Step times at the constant rate. Without runs of a chip and precision: the median share of the
        rated peak that other chips reach in it."""
        return np.array([model_flops(run) / (self._rate(run) * _chips(run)) for run in runs])

    def _rate(self, run: Run) -> float:
        pair = (run.chip_id, run.precision)
        if pair in self.by_pair:
            return self.by_pair[pair]
        return self.by_precision.get(run.precision, self.share) * _peak(run.chip_id)


def achieved_flops(run: Run) -> float:
    """Model FLOP/s of a chip in a measured run."""
    return model_flops(run) / (run.step_seconds * _chips(run))


def _chips(run: Run) -> int:
    return int(run.layout["tensor"] * run.layout["context"] * run.layout["stage"] * run.layout["data"])


def _peak(chip_id: str) -> float:
    return (load_chips()[chip_id].bf16_tflops or 1.0) * 1e12
