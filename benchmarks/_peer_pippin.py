"""A worker of `train_peers.py`: Pippin's own step."""

from __future__ import annotations

import sys
from collections.abc import Callable

import jax
import numpy as np
from _peer_setup import (
    BETAS,
    CLIP_NORM,
    EPSILON,
    LEARNING_RATE,
    SEED,
    SHAPES,
    WEIGHT_DECAY,
    Shape,
    serve,
)

from pippin.job import make_job
from pippin.train.setup import find_machine
from pippin.train.step import Program


def make_step(shape: Shape, dtype: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """One update as a function of inputs and targets, under the rules of the chip at hand."""
    train = {
        "steps": 1,
        "batch_size": shape.batch_size,
        "sequence_length": shape.sequence_length,
        "seed": SEED,
        "beta1": BETAS[0],
        "beta2": BETAS[1],
        "epsilon": EPSILON,
        "weight_decay": WEIGHT_DECAY,
        "clip_norm": CLIP_NORM,
        "z_loss": 0.0,
    }
    model = shape.config.model_dump(exclude_none=True)
    job = make_job({"model": model, "train": train, "chip": {"compute_dtype": dtype}})
    program = Program(job, find_machine(job).choices)
    state = program.initial_state()
    segments = np.zeros((shape.batch_size, shape.sequence_length), np.int32)

    def step(inputs: np.ndarray, targets: np.ndarray) -> float:
        nonlocal state
        state, result = program.step(state, inputs, targets, segments, LEARNING_RATE)
        return result.loss

    return step


def device_peak_bytes() -> int:
    return int(jax.devices()[0].memory_stats()["peak_bytes_in_use"])


if __name__ == "__main__":
    _, dtype, shape_name, device = sys.argv
    shape = SHAPES[shape_name]
    more = {} if device == "cpu" else {"peak_memory_bytes": device_peak_bytes}
    serve("pippin", dtype, shape, make_step(shape, dtype), **more)
