"""The numerics of the chip at hand: what to compare on, and what to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from pippin.assay.numerics.check import Numerics, check_numerics
from pippin.assay.numerics.computer import Computer
from pippin.assay.numerics.repeats import RepeatCheck
from pippin.assay.refusals import attempted
from pippin.data.dataset import Dataset
from pippin.job import Job
from pippin.models.counts import training_flops_per_token
from pippin.parallel.degrees import resolve
from pippin.train.loop import Trained
from pippin.train.observer import Observer
from pippin.train.step import Choices, Program

# What a step of the reference may cost, FLOP: a few tenths of a second on two cores.
_STEP_FLOPS = 25e9
_SHORT, _FEW_LAYERS = 128, 2
_SECONDS_OF_RUNS, _SECONDS_OF_REPEATS = 40.0, 4.0


def watch_for_errors(choices: Choices) -> RepeatCheck:
    """A fixed computation on every device, carried out once where the devices do not refuse it."""
    check = RepeatCheck([Computer(device) for device in jax.local_devices()], choices.compute_dtype)
    check.repeat("before the training", training=False)
    return check


def assay_numerics(
    program: Program,
    trained: Trained,
    dataset: Dataset,
    watch: RepeatCheck,
    observer: Observer,
    leave: Callable[[], None],
) -> Numerics | str:
    """Compares the chip with the CPU after a training, or says why it cannot.

    Args:
        program: that trained; it is used again where the reference can keep up with its batch.
        trained: whose parameters operations and layers are compared on.
        dataset: what it read.
        watch: the repeated computation, which goes on here for a while.
        observer: told of progress.
        leave: raises where the user wants to stop.
    """
    try:
        reference = Computer(jax.local_devices(backend="cpu")[0], as_in_training=False)
    except RuntimeError:
        return "JAX was started without its CPU device, on which the reference runs: see JAX_PLATFORMS"
    return attempted(lambda: _compared(program, trained, dataset, watch, observer, leave, reference))


def _compared(
    program: Program,
    trained: Trained,
    dataset: Dataset,
    watch: RepeatCheck,
    observer: Observer,
    leave: Callable[[], None],
    reference: Computer,
) -> Numerics:
    observer.phase("repeating a fixed computation")
    repeats = watch.repeat_for(_SECONDS_OF_REPEATS)
    leave()
    job = reduced_job(program.job, len(jax.devices()))
    assert trained.state is not None
    own = job.shape == program.job.shape
    found = check_numerics(
        job,
        program.choices,
        dataset,
        Computer(jax.local_devices()[0]),
        reference,
        program=(lambda *_: program) if job == program.job else Program,
        parameters=jax.tree.map(np.asarray, trained.state["parameters"]) if own else None,
        repeats=repeats,
        seconds=_SECONDS_OF_RUNS,
        observer=observer,
        leave=leave,
    )
    return replace(found, reduced=job != program.job)


def reduced_job(job: Job, num_devices: int) -> Job:
    """The job where the reference can keep up; else fewer and shorter sequences, then fewer layers.

    Widths stay, and with them the shapes of the products.
    """
    # Every device a sequence of each micro-batch, every stage a layer.
    batch_size, stages = num_devices * job.mesh.micro_batches, resolve(job.mesh, num_devices).stage
    layers = max(_FEW_LAYERS, stages)
    train = [{"batch_size": batch_size}, {"sequence_length": min(_SHORT, job.train.sequence_length)}]
    for change in train:
        if _step_flops(job) > _STEP_FLOPS:
            job = job.model_copy(update={"train": job.train.model_copy(update=change)})
    if _step_flops(job) > _STEP_FLOPS and job.shape.num_layers > layers:
        model: dict[str, Any] = {**job.model, "num_layers": layers}
        job = Job(**{**job.model_dump(), "model": model})
    return job


def _step_flops(job: Job) -> float:
    return training_flops_per_token(job.shape, job.train.sequence_length) * job.tokens_per_step
