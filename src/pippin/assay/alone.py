"""The parts of a job's step as programs of their own, timed in turn, for the roofline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.components import Component, Workpiece, components
from pippin.assay.interleaved import Rounds, Runs, interleave
from pippin.assay.timing import Clock
from pippin.data.batches import Batch
from pippin.devices import compile_program
from pippin.parallel.degrees import TOKEN_AXES
from pippin.parallel.objective import Part
from pippin.train.step import Program

UPDATE = "optimiser update"


@dataclass(frozen=True)
class Alone:
    """Seconds of every component, and of the update, one value a round; what the components are: of one
    micro-batch on one device."""

    rounds: Rounds
    components: tuple[Component, ...]


def time_alone(program: Program, batch: Batch, *, seconds: float, clock: Clock = time.perf_counter) -> Alone:
    """Compiles the parts and times them in turns, for so many seconds; compiling comes on top."""
    parts = components(workpiece(program))
    programs: dict[str, Runs] = {UPDATE: update(program, batch), **{part.name: run for part, run in parts}}
    rounds = interleave(programs, seconds, clock=clock)
    return Alone(rounds, tuple(part for part, _ in parts))


def workpiece(program: Program) -> Workpiece:
    """What the first device does in a micro-batch."""
    objective, degrees, job = program.spread.objective, program.degrees, program.job
    batch = job.train.batch_size // job.mesh.micro_batches // degrees.of(*TOKEN_AXES[:-1])
    return Workpiece(
        job.shape,
        max(1, batch),
        job.train.sequence_length,
        objective.compute_dtype,
        objective.attention,
        job.train.z_loss,
    )


def update(program: Program, batch: Batch) -> Runs:
    """What the step does once it has its gradients, on a state that is made for it."""
    held = [program.initial_state()]
    # Any finite gradients cost the same: the parameters serve as such.
    gradients, load = jax.tree.map(jnp.copy, (held[0]["parameters"], held[0].get("load")))
    placed = Part(*program.spread.place(batch.inputs, batch.targets, batch.segments))
    shapes = jax.eval_shape(program.spread.gradients, gradients, load, placed)[1]
    sums: Any = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)
    compiled = compile_program(program.lower_apply(gradients, sums))

    def run(calls: int) -> None:
        for _ in range(calls):
            # A rate of 0 keeps the values where they are; the work is the same.
            held[0], _ = jax.block_until_ready(compiled(held[0], gradients, sums, np.float32(0)))

    return run
