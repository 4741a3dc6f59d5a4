"""What a chip has been seen to deliver, to hold beside what the planner hopes for.

A search takes the layout of which the model is most hopeful, and so its errors too: the best of a million
predictions is more often too good than too bad. The best measured run says how far that goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pippin.plan.baseline import achieved_flops
from pippin.plan.reading import published_runs


@dataclass(frozen=True)
class Precedent:
    """The fastest of the published runs that ship, of a chip in a precision."""

    flops_per_second: float  # model FLOPs, a chip
    model: str
    source: str
    runs: int


@cache
def precedent(chip_id: str, precision: str) -> Precedent | None:
    """The best measured run of a chip; None where no run of it in this precision can be scored.

    Args:
        chip_id: of the catalog.
        precision: class: bf16, fp8, fp4 or int8.
    """
    runs = [
        run
        for run in published_runs()
        if (run.chip_id, run.precision) == (chip_id, precision) and not run.refused and not run.wrong
    ]
    if not runs:
        return None
    best = max(runs, key=achieved_flops)
    return Precedent(achieved_flops(best), best.model, best.source, len(runs))
