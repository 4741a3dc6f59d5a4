"""A job's step taken apart: the step, the step with less in it, and its parts alone, timed in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pippin.assay.ablations import ablations
from pippin.assay.components import Component, Workpiece, components
from pippin.assay.interleaved import Compile, Rounds, Runs, blocking, compile_ahead, interleave
from pippin.assay.timing import Clock
from pippin.assay.transfers import launch
from pippin.data.batches import Batch
from pippin.parallel.degrees import TOKEN_AXES
from pippin.parallel.objective import Part
from pippin.train.step import Program

STEP, PLACE, LAUNCH, UPDATE = "step", "placing the batch", "launching a program", "optimiser update"


@dataclass(frozen=True)
class TakenApart:
    """Seconds of every program, one value a round, and what the programs are.

    `rounds` has the step, its update, `ablations`, and the components by name; `missing` why a program
    could not be had. Components are of one micro-batch on one device; a step has `micro_batches`.
    """

    rounds: Rounds
    components: tuple[Component, ...]
    missing: dict[str, str]
    micro_batches: int


@dataclass(frozen=True)
class Apart:
    """The same before it is timed."""

    programs: dict[str, Runs]
    components: tuple[Component, ...]
    missing: dict[str, str]
    micro_batches: int

    def timed(self, rounds: Rounds) -> TakenApart:
        """With the rounds of these programs."""
        return TakenApart(rounds, self.components, self.missing, self.micro_batches)


def take_apart(program: Program, batch: Batch, compiled: Compile = compile_ahead) -> Apart:
    """Compiles the parts. A state is made for it, and kept as long as this is.

    Args:
        program: the job's compiled step.
        batch: what it reads, the same in every call.
        compiled: makes a program of a function and its arguments.
    """
    state = program.initial_state()
    spread, job = program.spread, program.job
    held = [state]
    # The step consumes its state, and the update does: what runs beside it has parameters of its own.
    parameters, load = jax.tree.map(jnp.copy, (state["parameters"], state.get("load")))
    arrays = (batch.inputs, batch.targets, batch.segments)
    placed = Part(*spread.place(*arrays))
    less = ablations(spread, parameters, load, placed, compiled)
    sums = jax.eval_shape(spread.gradients, parameters, load, placed)[1]
    parts = components(workpiece(program, compiled))
    programs: dict[str, Runs] = {
        STEP: _step(program, held, batch),
        # Any finite gradients cost the same: the parameters serve as such.
        UPDATE: _update(program, held, parameters, jax.tree.map(lambda x: np.ones(x.shape, x.dtype), sums)),
        PLACE: blocking(lambda: spread.place(*arrays)),
        LAUNCH: launch(),
        **less.programs,
        **{part.name: run for part, run in parts},
    }
    return Apart(programs, tuple(part for part, _ in parts), less.missing, job.mesh.micro_batches)


def time_apart(
    program: Program, batch: Batch, *, seconds: float, clock: Clock = time.perf_counter
) -> TakenApart:
    """Takes the step apart and times all of it, in turns, for so many seconds; compiling comes on top."""
    apart = take_apart(program, batch)
    return apart.timed(interleave(apart.programs, seconds, clock=clock))


def workpiece(program: Program, compiled: Compile = compile_ahead) -> Workpiece:
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
        compiled,
    )


def _step(program: Program, held: list[Any], batch: Batch) -> Runs:
    """The step; it takes the state out of `held` and puts the next one there."""

    def run(calls: int) -> None:
        for _ in range(calls):
            # A rate of 0 keeps the values where they are; the work is the same.
            held[0], _ = program.step(held[0], batch.inputs, batch.targets, batch.segments, 0.0)

    return run


def _update(program: Program, held: list[Any], gradients: Any, sums: Any) -> Runs:
    """What the step does once it has its gradients, with the same state as the step, in turn."""
    compiled = program.lower_apply(gradients, sums).compile()

    def run(calls: int) -> None:
        for _ in range(calls):
            held[0], _ = jax.block_until_ready(compiled(held[0], gradients, sums, np.float32(0)))

    return run
