"""A job's own mesh as a layout of the planner: how `pippin train` spreads its step, one device a chip."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pippin.job import MeshTable
from pippin.plan.layout import Layouts, single


def mesh_layout(
    mesh: MeshTable,
    degrees: Mapping[str, int],
    *,
    global_batch: int,
    sequence_length: int,
    remat: str,
    flash: bool,
) -> Layouts:
    """The layout of a step on a mesh.

    Args:
        mesh: the job's table.
        degrees: devices along each of its axes, none of them open.
        global_batch: sequences a step.
        sequence_length: tokens of one.
        remat: `none`, `selective` or `full`.
        flash: attention makes no S x S array.
    """
    spread = math.prod(degrees[axis] for axis in ("data", "fsdp", "expert"))
    return single(
        tensor=degrees["tensor"],
        context=degrees["context"],
        stage=degrees["stage"],
        data=spread,
        expert=degrees["expert"],
        zero=3 if degrees["fsdp"] > 1 else 0,
        sequence_parallel=degrees["tensor"] > 1,
        micro_batch=max(global_batch // spread // mesh.micro_batches, 1),
        global_batch=global_batch,
        sequence_length=sequence_length,
        recompute_layers=1.0 if remat == "full" else 0.0,
        recompute_attention=remat == "selective",
        flash=flash,
    )


def state_neighbours(degrees: Mapping[str, int]) -> float:
    """Neighbours among which a mesh keeps one copy of the states: they are split over fsdp, not over data."""
    return degrees["fsdp"] * degrees["tensor"] if degrees["fsdp"] > 1 else np.inf
