"""The report's speed windows, cut from the ledger once the run is over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pippin.assay.findings import Findings, Unknown
from pippin.report.speed import WINDOW_DEFINITION
from pippin.train.account import Span, finished_steps

MOST_WINDOWS = 20
# A run of the fewest steps an assay may have, less the first, still gives five windows.
FEWEST_STEPS_IN_WINDOW = 3


def window_bounds(num_steps: int) -> list[tuple[int, int]]:
    """Cuts steps 0 to `num_steps` into half-open stretches as equal as can be.

    More windows tell more of how the speed wanders; a window of less than three steps tells little of it.
    """
    windows = max(1, min(MOST_WINDOWS, num_steps // FEWEST_STEPS_IN_WINDOW))
    edges = np.linspace(0, num_steps, windows + 1).round().astype(int).tolist()
    return list(pairwise(edges))


def speed_section(found: Findings, unknown: Unknown) -> dict[str, Any]:
    """All steps after the first, in windows; energy where a meter ran."""
    steps = finished_steps(found.spans)[1:]
    parts = [steps[first:stop] for first, stop in window_bounds(len(steps))]
    begun = found.spans[0]["start"]
    joules = found.energy.step_joules(steps)
    if joules is not None:
        edges = np.cumsum([0, *(len(part) for part in parts)])
        joules = [sum(joules[first:stop]) for first, stop in pairwise(edges.tolist())]
    return {
        "definition": WINDOW_DEFINITION,
        "windows": [_window(part, begun) for part in parts],
        "window_joules": unknown.known("speed.window_joules", joules, found.energy.why_no_windows),
    }


def _window(steps: Sequence[Span], begun: float) -> dict[str, Any]:
    return {
        "start_step": steps[0]["step"],
        "stop_step": steps[-1]["step"] + 1,
        "start_seconds": round(steps[0]["start"] - begun, 6),
        "end_seconds": round(steps[-1]["end"] - begun, 6),
        "tokens": sum(span["tokens"][1] - span["tokens"][0] for span in steps),
        "seconds": sum(span["end"] - span["start"] for span in steps),
    }
