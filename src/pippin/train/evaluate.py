"""Held-out bits per byte: the one function that every verb uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pippin.data.batches import windows
from pippin.data.dataset import Dataset
from pippin.train.step import Program

Window = tuple[np.ndarray, np.ndarray, np.ndarray]


def bits_per_byte(
    program: Program,
    parameters: object,
    dataset: Dataset,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """The sum of -log2 p over every token of the validation text, divided by its UTF-8 bytes.

    Each token is scored once, the first of a document from the boundary token, the others with at least
    half a sequence of their own document before them where there is that much.

    Args:
        program: compiled for the job.
        parameters: as the program expects them.
        dataset: its validation split is scored.
        progress: told the windows done, and all of them.
    """
    length, rows = program.job.train.sequence_length, program.job.train.batch_size
    every = list(windows(dataset, "validation", sequence_length=length))
    nats = []
    for done, (inputs, targets, weights) in _batches(every, rows):
        nats.extend(program.score(parameters, inputs, targets, weights).astype(float).tolist())
        progress(done, len(every))
    return math.fsum(nats) / math.log(2) / dataset.manifest.splits.validation.utf8_bytes


def _batches(every: Iterable[Window], rows: int) -> Iterator[tuple[int, Window]]:
    """Stacks windows into batches of `rows`; the last is filled up with windows of no weight."""
    held = list(every)
    for start in range(0, len(held), rows):
        group = held[start : start + rows]
        done = start + len(group)
        group += [(group[0][0], group[0][1], np.zeros_like(group[0][2]))] * (rows - len(group))
        inputs, targets, weights = (np.stack(column) for column in zip(*group, strict=True))
        yield done, (inputs, targets, weights)
