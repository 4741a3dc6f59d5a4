"""The numerics of a chip, as a recipe: operations, products of whole numbers, layers, runs, repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.layers import LayerDeviation, compare_layers
from pippin.assay.numerics.operation import Deviation, compare
from pippin.assay.numerics.operations import operations
from pippin.assay.numerics.plain import PlainProgram
from pippin.assay.numerics.products import WholeProduct, compare_whole
from pippin.assay.numerics.repeats import Repeats
from pippin.assay.numerics.trajectories import Trainer, Trajectories, compare_runs
from pippin.assay.numerics.update import compare_update
from pippin.assay.refusals import attempted, refusal
from pippin.data.dataset import Dataset
from pippin.job import Job
from pippin.models.attention import attention_backend
from pippin.models.parameters import initial_parameters
from pippin.train.observer import Observer
from pippin.train.setup import training_batches
from pippin.train.step import Choices, Program

Row = TypeVar("Row")


@dataclass(frozen=True)
class Numerics:
    """What was compared and what came out. `job` is what operations, layers and runs were of."""

    job: Job
    choices: Choices
    same_device: bool
    deviations: list[Deviation]
    whole: list[WholeProduct]
    layers: list[LayerDeviation]
    runs: Trajectories
    repeats: Repeats
    seconds: float
    reduced: bool = False
    unchecked: tuple[str, ...] = ()


def check_numerics(
    job: Job,
    choices: Choices,
    dataset: Dataset,
    chip: Computer,
    reference: Computer,
    *,
    program: Callable[[Job, Choices], Trainer] = Program,
    parameters: Any = None,
    repeats: Repeats,
    seconds: float,
    observer: Observer | None = None,
    leave: Callable[[], None] = lambda: None,
) -> Numerics:
    """Compares the chip with the reference.

    Args:
        job: what to compare on; a dense shape.
        choices: the chip's rules.
        dataset: what is read.
        chip: one device of it.
        reference: the CPU.
        program: makes the chip's training program, on all its devices.
        parameters: host arrays for operations and layers; None: those of the job's seed.
        repeats: what `RepeatCheck` found.
        seconds: for the runs.
        observer: told of progress.
        leave: called between the parts; raises where the user wants to stop.
    """
    begun, observer = time.perf_counter(), observer or Observer()
    values = initial_parameters(job.shape, job.train.seed) if parameters is None else parameters
    batch = training_batches(job, dataset).at(0)
    observer.phase("numerics: single operations")
    steps = operations(
        job.shape,
        values,
        batch,
        attention=attention_backend(choices.attention),
        compute_dtype=choices.compute_dtype,
        z_loss=job.train.z_loss,
    )
    deviations: list[Deviation] = []
    whole: list[WholeProduct] = []
    unchecked = [f"the repeated computation {repeats.refused}"] if repeats.refused else []
    for done, operation in enumerate(steps, 1):
        run = operation.on(chip)
        try:
            deviations += compare(operation, run, choices.compute_dtype)
            whole += compare_whole(operation, run) if operation.equation else []
        except jax.errors.JaxRuntimeError as error:
            # A compiler may have no code for an operation by itself that it has within a program.
            unchecked.append(f"{operation.name} does not run by itself: {refusal(error)}")
        observer.progress(done, len(steps))
        leave()

    def rows(what: str, compared: Callable[[], list[Row]]) -> list[Row]:
        """Those of a comparison; none, and a note, where the device does not carry it out."""
        found = attempted(compared)
        if not isinstance(found, str):
            return found
        unchecked.append(f"{what}: {found}")
        return []

    deviations += rows("the optimiser", lambda: compare_update(job.train, job.shape.d_model, chip))
    observer.phase("numerics: layers")
    trainer = program(job, choices)
    spread = trainer.spread if isinstance(trainer, Program) else None
    layers = rows("layers", lambda: compare_layers(job, choices, chip, reference, values, batch, spread))
    leave()
    observer.phase("numerics: short runs on both sides")
    plain = PlainProgram(job, reference.device)
    runs = compare_runs(job, dataset, trainer, plain, seconds=seconds)
    return Numerics(
        job=job,
        choices=choices,
        same_device=chip.device.platform == reference.device.platform,
        deviations=deviations,
        whole=whole,
        layers=layers,
        runs=runs,
        repeats=repeats,
        seconds=time.perf_counter() - begun,
        unchecked=tuple(unchecked),
    )
