from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.data.batches import Batches, windows
from pippin.data.dataset import Dataset
from pippin.errors import PippinError

Build = Callable[..., Dataset]


def test_a_batch_is_what_the_stream_holds(build_folder: Build) -> None:
    dataset = build_folder(max_shard_tokens=1000)
    batches = Batches(dataset, sequence_length=24, batch_size=5, seed=3)
    stream = dataset.tokens("train")[:].astype(np.int64)
    assert batches.num_sequences == (len(stream) - 1) // 24
    assert batches.tokens_per_step == 120
    batch = batches.at(4)
    assert batch.inputs.shape == batch.targets.shape == batch.segments.shape == (5, 24)
    assert {a.dtype for a in (batch.inputs, batch.targets, batch.segments)} == {np.dtype(np.int32)}
    assert np.array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    assert (batch.first_token, batch.stop_token) == (480, 600)
    little_endian = batch.inputs.astype("<i4").tobytes() + batch.targets.astype("<i4").tobytes()
    assert batch.digest == hashlib.sha256(little_endian).hexdigest()[:16]
    sequences = [stream[i * 24 : i * 24 + 25].tolist() for i in range(batches.num_sequences)]
    assert all(
        [*row, last] in sequences
        for row, last in zip(batch.inputs.tolist(), batch.targets[:, -1], strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_every_epoch_has_every_sequence_once_in_an_order_of_its_own(
    build_folder: Build, batch_size: int
) -> None:
    dataset = build_folder()
    batches = Batches(dataset, sequence_length=100, batch_size=batch_size, seed=0)
    count = batches.num_sequences
    stream = dataset.tokens("train")[:].astype(np.int32)
    number_of = {stream[i * 100 : i * 100 + 100].tobytes(): i for i in range(count)}
    assert len(number_of) == count
    num_steps = -(-3 * count // batch_size)
    order = [number_of[row.tobytes()] for step in range(num_steps) for row in batches.at(step).inputs]
    epochs = [order[i * count : (i + 1) * count] for i in range(3)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_batch_depends_on_dataset_seed_and_step_only(build_folder: Build) -> None:
    one = Batches(build_folder(), sequence_length=32, batch_size=8, seed=5)
    other = Batches(build_folder(max_shard_tokens=999), sequence_length=32, batch_size=8, seed=5)
    forth = [one.at(step).digest for step in range(30)]
    back = [other.at(step).digest for step in reversed(range(30))]
    assert forth == back[::-1]
    assert len(set(forth)) == 30
    seeded = Batches(build_folder(), sequence_length=32, batch_size=8, seed=6)
    assert not set(forth) & {seeded.at(step).digest for step in range(30)}


def test_the_global_order_does_not_depend_on_the_batch_size(build_folder: Build) -> None:
    small = Batches(build_folder(), sequence_length=32, batch_size=4, seed=1)
    large = Batches(build_folder(), sequence_length=32, batch_size=12, seed=1)
    rows = np.concatenate([small.at(step).inputs for step in range(6)])
    assert np.array_equal(rows, np.concatenate([large.at(step).inputs for step in range(2)]))


def test_segments_rise_at_each_boundary(build_folder: Build) -> None:
    batches = Batches(build_folder(), sequence_length=400, batch_size=batches_of(build_folder), seed=0)
    batch = batches.at(0)
    for inputs, segments in zip(batch.inputs, batch.segments, strict=True):
        number = 0
        for place, (token, segment) in enumerate(zip(inputs, segments, strict=True)):
            number += int(token == 0 and place > 0)
            assert segment == number
    assert (batch.inputs[:, 0] == 0).any()
    assert batch.segments.max() > 0


def batches_of(build_folder: Build) -> int:
    """Sequences of 400 tokens in an epoch: a batch of so many holds all of them."""
    return Batches(build_folder(), sequence_length=400, batch_size=1, seed=0).num_sequences


def test_errors(build_folder: Build) -> None:
    dataset = build_folder()
    count = len(dataset.tokens("train"))
    exact = Batches(dataset, sequence_length=count - 1, batch_size=3, seed=0)
    assert exact.num_sequences == 1
    assert len({row.tobytes() for row in exact.at(9).inputs}) == 1
    with pytest.raises(
        PippinError, match=rf"orchard: the training split has {count:,} tokens.*shorter sequence"
    ):
        Batches(dataset, sequence_length=count, batch_size=1, seed=0)
    for length, size in ((0, 1), (1, 0)):
        with pytest.raises(PippinError, match="at least 1"):
            Batches(dataset, sequence_length=length, batch_size=size, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        next(windows(dataset, "validation", sequence_length=0))
    with pytest.raises(ValueError, match="negative"):
        exact.at(-1)


def documents_of(*lengths: int) -> Dataset:
    """A stand-in whose documents have these lengths and tokens that are all different."""
    ends = np.cumsum(lengths)
    documents = [np.arange(end - length, end) + 1 for end, length in zip(ends, lengths, strict=True)]
    stand_in = SimpleNamespace(
        manifest=SimpleNamespace(boundary_id=0), documents=lambda split: iter(documents)
    )
    return cast(Dataset, stand_in)


@given(st.lists(st.integers(1, 60), max_size=8), st.integers(1, 20))
def test_windows_score_every_token_once_in_the_right_place(lengths: list[int], length: int) -> None:
    starts = np.cumsum([1, *lengths])[:-1]
    scored: list[int] = []
    for inputs, targets, weights in windows(documents_of(*lengths), "validation", sequence_length=length):
        assert inputs.shape == targets.shape == weights.shape == (length,)
        assert (inputs.dtype, targets.dtype, weights.dtype) == (np.int32, np.int32, np.float32)
        assert set(weights.tolist()) <= {0.0, 1.0}
        assert weights.any()
        for place in np.flatnonzero(weights):
            token = int(targets[place])
            scored.append(token)
            before = [0, *range(int(starts[starts <= token][-1]), token)]
            context = inputs[: place + 1].tolist()
            assert context == before[-len(context) :]
            assert len(context) == len(before) or len(context) > length // 2
    assert scored == list(range(1, sum(lengths) + 1))


def test_windows_of_a_long_document() -> None:
    found = [
        (w.inputs.tolist(), w.targets.tolist(), w.weights.tolist())
        for w in windows(documents_of(7, 1), "validation", sequence_length=4)
    ]
    assert found == [
        ([0, 1, 2, 3], [1, 2, 3, 4], [1, 1, 1, 1]),
        ([2, 3, 4, 5], [3, 4, 5, 6], [0, 0, 1, 1]),
        ([4, 5, 6, 0], [5, 6, 7, 0], [0, 0, 1, 0]),
        ([0, 0, 0, 0], [8, 0, 0, 0], [1, 0, 0, 0]),
    ]


def test_windows_of_sotu_score_every_token(sotu_dataset: Dataset) -> None:
    scored = [w.targets[w.weights > 0] for w in windows(sotu_dataset, "validation", sequence_length=512)]
    wanted = np.concatenate(list(sotu_dataset.documents("validation")))
    assert np.array_equal(np.concatenate(scored), wanted)
