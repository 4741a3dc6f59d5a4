"""What a run has saved: its job, its newest parameters and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from tokenizers import Tokenizer

from pippin.data.tokenizer import load_tokenizer
from pippin.errors import PippinError
from pippin.job import Job, load_job
from pippin.models.parameters import initial_parameters
from pippin.train.checkpoint import load, steps_in
from pippin.train.run import CHECKPOINTS, JOB, TOKENIZER


@dataclass(frozen=True)
class Saved:
    """The newest checkpoint of a run, or of an imported model (step 0).

    `parameters` is the pytree of `models.parameters`, float32 NumPy arrays.
    """

    folder: Path
    job: Job
    step: int
    parameters: Any
    tokenizer: Tokenizer


def open_saved(run: Path) -> Saved:
    """Reads the newest checkpoint of a run's folder.

    Raises:
        PippinError: no run there, nothing saved yet, or the checkpoint is damaged.
    """
    if not (run / JOB).exists():
        fix = "give the folder that `pippin train` or `pippin import` wrote"
        raise PippinError("no run in this folder", where=run, fix=fix)
    job = load_job(run / JOB)
    step, parameters = newest_parameters(run, job)
    return Saved(run, job, step, parameters, load_tokenizer(run / TOKENIZER))


def newest_parameters(run: Path, job: Job) -> tuple[int, Any]:
    """The newest checkpoint's step, and its parameters, which must have the shapes of `job`.

    Raises:
        PippinError: nothing saved yet, the checkpoint is damaged, or it has other shapes.
    """
    steps = steps_in(run / CHECKPOINTS)
    if not steps:
        raise PippinError("nothing saved yet", where=run, fix="let the run reach its first checkpoint")
    template = {"parameters": jax.eval_shape(lambda: initial_parameters(job.shape, 0))}
    state = load(run / CHECKPOINTS / f"step_{steps[-1]:09d}", template)
    return steps[-1], state["parameters"]
