"""What an assay trains: a model that suits the chip, and as many steps as fit the time.

The recipes are ours, tuned for short runs: small batches and high rates, so that minutes show something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from pippin.data.dataset import Dataset
from pippin.errors import PippinError
from pippin.job import Job, make_job
from pippin.models.presets import preset
from pippin.train.ledger import Ledger
from pippin.train.schedule import learning_rate
from pippin.train.setup import Machine, training_batches
from pippin.train.step import Program

# The shortest run that shows a rate in five windows of steps after the first.
FEWEST_STEPS = 20


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained in an assay: sequences a step, their length in tokens, the peak rate."""

    batch_size: int
    sequence_length: int
    learning_rate: float


RECIPES: dict[str, Recipe] = {
    "pippin-3m": Recipe(4, 128, 2e-3),
    "pippin-5m": Recipe(4, 128, 1.5e-3),
    "pippin-10m": Recipe(8, 128, 1.5e-3),
    "pippin-30m": Recipe(16, 256, 1e-3),
    "pippin-125m": Recipe(32, 512, 8e-4),
    "pippin-350m": Recipe(32, 1024, 6e-4),
    "pippin-1b": Recipe(16, 1024, 4e-4),
    "pippin-3b": Recipe(8, 1024, 3e-4),
    "llama3.1-8b": Recipe(4, 1024, 3e-4),
}


@dataclass(frozen=True)
class Probe:
    """What a few steps, thrown away afterwards, told. Seconds are medians.

    `batch_size` may be less than the recipe's: it is halved until a step fits the device's memory.
    """

    step_seconds: float
    window_seconds: float
    batch_size: int
    program: Program


def choose_preset(wanted: str | None, machine: Machine) -> tuple[str, str]:
    """The preset to train and why.

    Raises:
        PippinError: no preset has that name, or an assay has no recipe for it.
    """
    if wanted:
        preset(wanted)
        if wanted not in RECIPES:
            raise PippinError(
                f"an assay has no recipe for '{wanted}'",
                where="--model",
                fix=f"choose one of {', '.join(RECIPES)}; `pippin plan` knows the others",
            )
        return wanted, "asked for with --model"
    name = machine.rules.default_preset
    return name, f"the default of the rule '{machine.rules.rule_name}' for this chip"


def draft_job(
    name: str,
    corpus: str,
    seed: int,
    *,
    steps: int = 1,
    batch_size: int | None = None,
    num_devices: int = 1,
    evaluate_every_steps: int | None = None,
) -> Job:
    """The job of an assay; until the probe has told, its number of steps means nothing.

    Every device gets as many sequences, at least one.
    """
    recipe = RECIPES[name]
    # An assay is not resumed as an assay, but a checkpoint a minute saves most of its training.
    run: dict[str, Any] = {"checkpoint_every_seconds": 60.0}
    if evaluate_every_steps:
        run["evaluate_every_steps"] = evaluate_every_steps
    tables: dict[str, Any] = {
        "model": {"preset": name},
        "data": {"corpus": corpus},
        "train": {
            "steps": steps,
            "batch_size": batch_size or -(-recipe.batch_size // num_devices) * num_devices,
            "sequence_length": recipe.sequence_length,
            "learning_rate": recipe.learning_rate,
            "seed": seed,
        },
        "run": run,
    }
    return make_job(tables, where="assay")


def probe(
    job: Job,
    machine: Machine,
    dataset: Dataset,
    ledger: Ledger,
    *,
    seconds: float,
    warn: Callable[[str], None],
) -> Probe:
    """Compiles the job and times a few steps of it.

    Args:
        job: a draft; its number of steps does not matter.
        machine: where it runs.
        dataset: what it reads.
        ledger: gets a span for compiling, and one for the steps.
        seconds: how long to go on timing, at least three steps.
        warn: told when the batch had to be halved.

    Raises:
        PippinError: not even one sequence a step fits the device's memory.
    """
    batch_size, devices = job.train.batch_size, machine.chip.num_devices
    while True:
        train = job.train.model_copy(update={"batch_size": batch_size})
        try:
            return _timed(job.model_copy(update={"train": train}), machine, dataset, ledger, seconds)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            if batch_size <= devices:
                raise PippinError(
                    "one sequence a step on each device does not fit the memory",
                    where="assay",
                    fix="choose a smaller --model",
                ) from error
        batch_size = max(devices, batch_size // 2 // devices * devices)
        warn(f"out of memory: trying {batch_size} sequences a step")


def _timed(job: Job, machine: Machine, dataset: Dataset, ledger: Ledger, seconds: float) -> Probe:
    with ledger.span("compile"):
        program = Program(job, machine.choices)
    with ledger.span("evaluation", "probe"):
        return _probed(program, dataset, seconds)


def _probed(program: Program, dataset: Dataset, seconds: float) -> Probe:
    job, train = program.job, program.job.train
    batches = training_batches(job, dataset)
    state = program.initial_state()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 4 or time.perf_counter() - begun < seconds:
        batch = batches.at(len(times))
        start = time.perf_counter()
        rate = learning_rate(train, 0)
        state, _ = program.step(state, batch.inputs, batch.targets, batch.segments, rate)
        times.append(time.perf_counter() - start)
    weights = np.ones(batch.inputs.shape, np.float32)
    program.score(state["parameters"], batch.inputs, batch.targets, weights)
    start = time.perf_counter()
    program.score(state["parameters"], batch.inputs, batch.targets, weights)
    scored = (time.perf_counter() - start) / train.batch_size
    # The first steps warm caches and pools up.
    return Probe(float(np.median(times[1:])), scored, train.batch_size, program)


def steps_for(seconds: float, step_seconds: float) -> int:
    """Steps that fit the time.

    Raises:
        PippinError: too few to say anything.
    """
    steps = int(seconds / step_seconds)
    if steps < FEWEST_STEPS:
        need = math.ceil(100 * (FEWEST_STEPS + 0.5) * step_seconds / 60) / 100
        raise PippinError(
            f"a step takes {step_seconds:.2f} s here, so {seconds / 60:g} minutes are too short",
            where="--minutes",
            fix=f"give at least {need:.2f}, or a smaller --model",
        )
    return steps
