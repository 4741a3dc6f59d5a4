"""Short runs from the same seeds on the chip and in the reference: are the losses the same in practice?

Equivalence is tested as such (two one-sided tests, Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987, 657):
the 90 % interval of the mean difference over seeds must lie within a margin on both sides of zero. A
difference that is merely not significant would prove nothing.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from pippin.assay.numerics.rounding import LARGEST, relative_norm
from pippin.data.dataset import Dataset
from pippin.job import Job
from pippin.models.parameters import initial_parameters
from pippin.train.digest import flatten, parameter_sha256
from pippin.train.schedule import learning_rate
from pippin.train.setup import training_batches

# Nats a token: a hundredth of a nat is one per cent of the perplexity.
MARGIN = 0.01
SEEDS = 5
FEWEST_SEEDS = 3
_MOST_STEPS, _FEWEST_STEPS = 40, 8
# 95th percentile of Student's t by degrees of freedom, as in any table.
_STUDENT = {2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015, 6: 1.943, 7: 1.895}

Verdict = Literal["equivalent", "different", "cannot tell"]


class Trainer(Protocol):
    """What a run needs of `train.step.Program`, which the reference has too."""

    def initial_state(self, values: Any) -> Any: ...

    def step(
        self, state: Any, inputs: np.ndarray, targets: np.ndarray, segments: np.ndarray, rate: float
    ) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Run:
    """A short run: the loss of each step, and its last parameters on the host."""

    losses: list[float]
    parameters: Any


@dataclass(frozen=True)
class Pair:
    """The losses of one seed on both sides, nats a token."""

    seed: int
    chip: list[float]
    reference: list[float]


@dataclass(frozen=True)
class Equivalence:
    """The mean of the seeds' differences (chip less reference) over the last steps, with a 90 % interval."""

    mean: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Repeated:
    """The same program on the same input twice: the largest difference of a loss, and of the parameters."""

    identical: bool
    loss_difference: float
    parameter_difference: float


@dataclass(frozen=True)
class Trajectories:
    """All of it. `equivalence` is None where `reason` says why; `tail` are the last steps that count."""

    steps: int
    tail: int
    pairs: list[Pair]
    equivalence: Equivalence | None
    repeated: Repeated
    reason: str


def compare_runs(
    job: Job, dataset: Dataset, chip: Trainer, reference: Trainer, *, seconds: float
) -> Trajectories:
    """Trains on both sides, from as many seeds and for as many steps as fit the time.

    Args:
        job: the shape, the batch and the recipe; steps and seed are set here.
        dataset: what is read.
        chip: the chip's program.
        reference: the plain one.
        seconds: for all runs together, without compiling.
    """
    chip_step, reference_step = (_step_seconds(job, dataset, side) for side in (chip, reference))
    seeds, steps = _fitting(chip_step, reference_step, seconds)
    first = train(job, dataset, chip, job.train.seed, steps)
    repeated = _apart(first, train(job, dataset, chip, job.train.seed, steps))
    pairs = []
    for seed in range(job.train.seed, job.train.seed + seeds):
        mine = first if seed == job.train.seed else train(job, dataset, chip, seed, steps)
        pairs.append(Pair(seed, mine.losses, train(job, dataset, reference, seed, steps).losses))
    tail = max(1, steps // 4)
    slow = f"a step takes {chip_step:.2g} s on the chip and {reference_step:.2g} s in the reference"
    reason = "" if seeds else f"{slow}: too long for runs"
    return Trajectories(steps, tail, pairs, equivalence(pairs, tail) if pairs else None, repeated, reason)


def _fitting(chip_step: float, reference_step: float, seconds: float) -> tuple[int, int]:
    """Seeds and steps; no seeds where not even the fewest fit."""
    for seeds in (SEEDS, FEWEST_SEEDS):
        steps = int(seconds / (seeds * (chip_step + reference_step) + chip_step))
        if steps >= _FEWEST_STEPS:
            return seeds, min(steps, _MOST_STEPS)
    return 0, _FEWEST_STEPS


def _step_seconds(job: Job, dataset: Dataset, side: Trainer) -> float:
    """The shortest of a few steps after the first, which compiles."""
    times: list[float] = []
    train(job, dataset, side, job.train.seed, 5, times)
    return min(times[1:])


def train(
    job: Job, dataset: Dataset, side: Trainer, seed: int, steps: int, times: list[float] | None = None
) -> Run:
    """Trains from a seed's initial values on that seed's batches, over a whole schedule."""
    table = job.train.model_copy(update={"seed": seed, "steps": steps})
    batches = training_batches(job.model_copy(update={"train": table}), dataset)
    state, losses = side.initial_state(initial_parameters(job.shape, seed)), []
    for step in range(steps):
        batch, rate = batches.at(step), learning_rate(table, step)
        begun = time.perf_counter()
        state, result = side.step(state, batch.inputs, batch.targets, batch.segments, rate)
        if times is not None:
            times.append(time.perf_counter() - begun)
        losses.append(min(result.loss, LARGEST) if np.isfinite(result.loss) else LARGEST)
    return Run(losses, {name: np.asarray(x) for name, x in flatten(state["parameters"]).items()})


def _apart(first: Run, second: Run) -> Repeated:
    same = first.losses == second.losses
    same = same and parameter_sha256(first.parameters) == parameter_sha256(second.parameters)
    losses = max(abs(a - b) for a, b in zip(first.losses, second.losses, strict=True))
    arrays = [np.concatenate([np.ravel(x) for x in run.parameters.values()]) for run in (second, first)]
    return Repeated(same, losses, relative_norm(*arrays))


def equivalence(pairs: list[Pair], tail: int, margin: float = MARGIN) -> Equivalence:
    """Two one-sided t-tests at 5 % each, over the seeds.

    Args:
        pairs: at least three seeds, at most eight.
        tail: how many last steps are averaged in each run.
        margin: nats a token.
    """
    differences = [
        statistics.fmean(pair.chip[-tail:]) - statistics.fmean(pair.reference[-tail:]) for pair in pairs
    ]
    mean = statistics.fmean(differences)
    spread = statistics.stdev(differences) / np.sqrt(len(differences))
    half = _STUDENT[len(differences) - 1] * float(spread)
    low, high = mean - half, mean + half
    verdict: Verdict = "cannot tell"
    if -margin < low and high < margin:
        verdict = "equivalent"
    elif low > margin or high < -margin:
        verdict = "different"
    return Equivalence(mean, low, high, verdict)
