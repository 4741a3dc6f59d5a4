"""Measured training runs as models, layouts, systems and seconds; `reading` makes them from a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pippin.plan.layout import Layouts
from pippin.plan.shape import Shapes
from pippin.plan.system import System, Systems
from pippin.plan.work import forward_flops


@dataclass(frozen=True)
class Run:
    """One row. `refused` says why it cannot be scored; `wrong` why its number is not to be trusted."""

    id: str
    source: str
    model: str
    family: str  # of the model
    chip_id: str
    precision: str  # class
    tier: str
    task: str
    cells: dict[str, str]
    shape: Any = None  # ModelConfig
    layout: dict[str, Any] = field(default_factory=dict)
    system: System | None = None
    step_seconds: float = 0.0
    refused: str | None = None
    wrong: str | None = None
    order: tuple[float, int] = (0.0, 0)  # of the release; the newest is largest

    @property
    def configuration(self) -> tuple[Any, ...]:
        """What rows of one configuration in several releases share."""
        c = self.cells
        names = ("n_chips", "seq", "gbs", "mbs", "tp", "pp", "vp", "cp", "dp", "ep", "zero")
        shape = tuple(c.get(name, "") for name in ("layers", "hidden", "n_experts"))
        recipe = (self.precision, c.get("precision", "").split()[0:1], c.get("recompute", ""))
        layout = tuple(c.get(name, "") or "1" for name in names)
        return (self.source, self.family, self.chip_id, shape, str(recipe), layout, c.get("flash", ""))


def model_flops(run: Run, *, causal: bool = True) -> float:
    """FLOPs of a step: forward and backward, the head counted, recomputation not."""
    forward = forward_flops(Shapes.of(run.shape), run.layout["sequence_length"], causal=causal)
    return float(3.0 * forward[0] * run.layout["global_batch"])


def newest_of_each(runs: Iterable[Run]) -> list[Run]:
    """One row per distinct configuration, the newest release's; the order is kept."""
    kept: dict[tuple[Any, ...], Run] = {}
    for place, run in enumerate(runs):
        key = run.configuration
        # Of two rows of one release the first stands: sources list the main number first.
        candidate = replace(run, order=(run.order[0], -place))
        if key not in kept or candidate.order > kept[key].order:
            kept[key] = candidate
    chosen = {run.id for run in kept.values()}
    return [run for run in runs if run.id in chosen]


@dataclass(frozen=True)
class Table:
    """Scorable runs as arrays for `step_time`, in the order given."""

    shapes: Shapes
    layouts: Layouts
    systems: Systems
    measured: Any

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Table:
        names = runs[0].layout
        return cls(
            Shapes.of([run.shape for run in runs]),
            Layouts(**{name: np.array([run.layout[name] for run in runs]) for name in names}),
            Systems.of([run.system for run in runs if run.system]),
            np.array([run.step_seconds for run in runs]),
        )
