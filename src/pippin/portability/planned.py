"""The planner's memory of a step, for the layout and the rules that it is lowered with."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from pippin.job import Job
from pippin.parallel.degrees import Degrees
from pippin.plan.framework import Framework, trainer
from pippin.plan.memory import Memory, memory
from pippin.plan.mesh import mesh_layout, state_neighbours
from pippin.plan.shape import Shapes
from pippin.portability.compile_ahead import COMPILED_ONLY
from pippin.train.step import Choices


def planned_memory(job: Job, degrees: Degrees, choices: Choices, target: str) -> dict[str, Any]:
    """Bytes of one device at the peak of a step, by what they hold, and what the count rests on."""
    framework = trainer(choices.compute_dtype, cpu=target == "cpu")
    planned = _memory(job, degrees, choices, framework)
    parts = {each.name: round(float(np.ravel(getattr(planned, each.name))[0])) for each in fields(Memory)}
    return {
        "total_bytes": sum(parts.values()),
        **parts,
        "framework": framework.name,
        "basis": framework.source,
    }


def beside_the_plan(memory: dict[str, Any], planned: dict[str, Any]) -> dict[str, Any]:
    """The compiler's memory as one figure, the planner's beside it."""
    whole = memory["arguments_bytes"] + memory["outputs_bytes"] - memory["aliased_bytes"]
    whole += memory["temporaries_bytes"]
    size = memory["peak_bytes"] or whole
    return {
        "memory_bytes": size,
        "memory_basis": "what is alive at once, code left out"
        if memory["peak_bytes"]
        else "arguments, outputs and temporaries, gaps between them included",
        "planned_memory": planned,
        "planned_over_compiled": planned["total_bytes"] / size,
        "not_run": COMPILED_ONLY,
    }


def _memory(job: Job, degrees: Degrees, choices: Choices, framework: Framework) -> Memory:
    layout = mesh_layout(
        job.mesh,
        degrees.sizes,
        global_batch=job.train.batch_size,
        sequence_length=job.train.sequence_length,
        remat=choices.remat,
        flash=choices.attention != "reference",
    )
    return memory(Shapes.of(job.shape), layout, framework, state_neighbours(degrees.sizes))
