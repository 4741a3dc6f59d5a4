"""The training batch as a pure function of dataset, seed and step, and the windows of an evaluation.

There is no loader state: step 1000 is the same batch whoever asks, in whatever order. The price is that
the last tokens of the split, fewer than a sequence, are not trained on, and that sequences start wherever
a multiple of the length falls, within documents too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pippin.data.dataset import Dataset
from pippin.data.manifest import Split
from pippin.data.permutation import Permutation
from pippin.errors import PippinError

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """B sequences of S tokens.

    Attributes:
        inputs: (B, S) token ids.
        targets: (B, S), the token that follows each input in the stream.
        segments: (B, S) number of the document within the row, from 0, one more at each boundary.
        first_token: how many tokens earlier steps have consumed.
        stop_token: how many have been consumed with this step.
        digest: first 16 hex digits of the SHA-256 of inputs and targets as little-endian int32.
    """

    inputs: Int32
    targets: Int32
    segments: Int32
    first_token: int
    stop_token: int
    digest: str


class Batches:
    """Batches of the training split. Sample n = step * B + row is sequence P(n mod N) of epoch n div N,
    with N sequences in an epoch and P the permutation of this seed and epoch."""

    def __init__(self, dataset: Dataset, *, sequence_length: int, batch_size: int, seed: int) -> None:
        """
        Raises:
            PippinError: the training split has no whole sequence.
        """
        if sequence_length < 1 or batch_size < 1:
            raise PippinError(
                f"sequence length {sequence_length} and batch size {batch_size} must be at least 1"
            )
        self._tokens = dataset.tokens("train")
        if len(self._tokens) < sequence_length + 1:
            raise PippinError(
                f"the training split has {len(self._tokens):,} tokens, but a sequence of {sequence_length:,} "
                f"and its last target need {sequence_length + 1:,}",
                where=dataset.manifest.name,
                fix="use a longer text or a shorter sequence",
            )
        self._boundary_id = dataset.manifest.boundary_id
        self._sequence_length, self._batch_size, self._seed = sequence_length, batch_size, seed

    @property
    def num_sequences(self) -> int:
        """Sequences in an epoch."""
        return (len(self._tokens) - 1) // self._sequence_length

    @property
    def tokens_per_step(self) -> int:
        return self._batch_size * self._sequence_length

    def at(self, step: int) -> Batch:
        """The batch of `step`, counted from 0."""
        if step < 0:
            raise ValueError(f"step must not be negative, but is {step}")
        samples = step * self._batch_size + np.arange(self._batch_size, dtype=np.int64)
        starts = self._sequences(samples) * self._sequence_length
        rows = self._tokens.rows(starts, self._sequence_length + 1).astype(np.int32)
        inputs, targets = np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, 1:])
        return Batch(
            inputs=inputs,
            targets=targets,
            segments=_segments(inputs, self._boundary_id),
            first_token=step * self.tokens_per_step,
            stop_token=(step + 1) * self.tokens_per_step,
            digest=_digest(inputs, targets),
        )

    def _sequences(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        epochs, places = np.divmod(samples, self.num_sequences)
        sequences = np.empty_like(places)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            sequences[inside] = _epoch_order(self.num_sequences, self._seed, int(epoch))(places[inside])
        return sequences


@lru_cache(maxsize=8)
def _epoch_order(num_sequences: int, seed: int, epoch: int) -> Permutation:
    key = hashlib.sha256(f"{seed} {epoch}".encode()).digest()[:8]
    return Permutation(num_sequences, int.from_bytes(key, "little"))


def _segments(inputs: Int32, boundary_id: int) -> Int32:
    counts = np.cumsum(inputs == boundary_id, axis=1, dtype=np.int32)
    return counts - counts[:, :1]


def _digest(inputs: Int32, targets: Int32) -> str:
    return hashlib.sha256(inputs.astype("<i4").tobytes() + targets.astype("<i4").tobytes()).hexdigest()[:16]


class Window(NamedTuple):
    """S tokens of one document: inputs, targets, and weights that are 1 where the target is scored here."""

    inputs: Int32
    targets: Int32
    weights: npt.NDArray[np.float32]


def windows(dataset: Dataset, split: Split, *, sequence_length: int) -> Iterator[Window]:
    """Windows that score every text token of the split exactly once, each document by itself.

    The first token of a document is predicted from the boundary. A document's first window scores all its
    targets; each next one starts S - S//2 tokens later and scores only what is new in it, so that every
    token beyond the first S has at least S//2 tokens before it. The end is padded with the boundary and
    weight 0.

    Args:
        sequence_length: S, the length of a window.
    """
    if sequence_length < 1:
        raise ValueError(f"sequence_length must be at least 1, not {sequence_length}")
    boundary = dataset.manifest.boundary_id
    for ids in dataset.documents(split):
        tokens = np.concatenate([[boundary], ids]).astype(np.int32)
        yield from _windows_of(tokens, sequence_length, boundary)


def _windows_of(tokens: Int32, length: int, boundary: int) -> Iterator[Window]:
    """`tokens` begins with the boundary; all after it are scored."""
    num_targets = len(tokens) - 1
    start = scored = 0
    while scored < num_targets:
        stop = min(start + length, num_targets)
        inputs = np.full(length, boundary, dtype=np.int32)
        targets = np.full(length, boundary, dtype=np.int32)
        weights = np.zeros(length, dtype=np.float32)
        inputs[: stop - start] = tokens[start:stop]
        targets[: stop - start] = tokens[start + 1 : stop + 1]
        weights[scored - start : stop - start] = 1.0
        yield Window(inputs, targets, weights)
        scored = stop
        start += length - length // 2
