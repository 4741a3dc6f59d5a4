"""Arrays change names and sides, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.export import tensors
from pippin.export.gguf_source import unpermuted
from pippin.export.tensors import slots
from pippin.export.to_hf import parse_size, split_into_shards
from pippin.models.config import ModelConfig
from pippin.models.counts import num_parameters
from pippin.models.parameters import flat_specs

SHAPES = st.builds(
    lambda groups, kv, half, d, layers, ffn, vocab, tied: ModelConfig(
        vocab_size=vocab,
        d_model=d,
        num_layers=layers,
        num_heads=groups * kv,
        num_kv_heads=kv,
        head_dim=2 * half,
        ffn_dim=ffn,
        tie_embeddings=tied,
    ),
    *[st.integers(1, 3)] * 3,
    *[st.integers(2, 5), st.integers(1, 3), st.integers(1, 7), st.integers(2, 9), st.booleans()],
)


def counted(config: ModelConfig) -> dict[str, np.ndarray]:
    """Every element of every array differs from every other."""
    start, flat = 0, {}
    for path, spec in flat_specs(config).items():
        flat[path] = np.arange(start, start + spec.size, dtype=np.float32).reshape(spec.shape)
        start += spec.size
    return flat


@settings(deadline=None)
@given(SHAPES, st.sampled_from([tensors.DENSE, tensors.GGUF]))
def test_there_and_back_is_the_same_and_nothing_is_left_out(config: ModelConfig, names: Any) -> None:
    flat = counted(config)
    every = list(slots(config, names))
    assert len({slot.name for slot in every}) == len(every)
    arrays = {slot.name: slot.theirs(flat) for slot in every}
    assert sum(array.size for array in arrays.values()) == num_parameters(config)
    back = {path: np.full(spec.shape, np.nan, np.float32) for path, spec in flat_specs(config).items()}
    for slot in every:
        assert arrays[slot.name].shape == slot.shape
        slot.put(arrays[slot.name], back)
    for path, array in flat.items():
        assert np.array_equal(back[path], array), path


def test_a_matrix_of_theirs_multiplies_as_ours_does() -> None:
    """`their @ x` is our einsum, for each kind of matrix."""
    config = ModelConfig(
        vocab_size=11, d_model=6, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=10, ffn_dim=7
    )
    generator = np.random.default_rng(0)
    flat = {path: generator.normal(size=spec.shape) for path, spec in flat_specs(config).items()}
    theirs = {slot.name: slot.theirs(flat) for slot in slots(config, tensors.DENSE)}
    x, mixed, wide = generator.normal(size=6), generator.normal(size=(4, 10)), generator.normal(size=7)
    layer = "model.layers.1."
    for ours, name in (("query", "self_attn.q_proj"), ("key", "self_attn.k_proj")):
        expected = np.einsum("e,ehd->hd", x, flat[f"layers.{ours}"][1]).reshape(-1)
        np.testing.assert_allclose(theirs[f"{layer}{name}.weight"] @ x, expected)
    expected = np.einsum("hd,hde->e", mixed, flat["layers.output"][1])
    np.testing.assert_allclose(theirs[f"{layer}self_attn.o_proj.weight"] @ mixed.reshape(-1), expected)
    np.testing.assert_allclose(theirs[f"{layer}mlp.gate_proj.weight"] @ x, x @ flat["layers.gate"][1])
    np.testing.assert_allclose(theirs[f"{layer}mlp.down_proj.weight"] @ wide, wide @ flat["layers.down"][1])


@settings(deadline=None)
@given(SHAPES, st.integers(1, 4), st.integers(1, 4000))
def test_shards_hold_everything_once_in_order(config: ModelConfig, itemsize: int, limit: int) -> None:
    every = list(slots(config, tensors.DENSE))
    shards = split_into_shards(every, itemsize, limit)
    assert [slot for shard in shards for slot in shard] == every
    for shard in shards:
        size = sum(int(np.prod(slot.shape)) * itemsize for slot in shard)
        assert shard and (size <= limit or len(shard) == 1)


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """As convert_hf_to_gguf.py writes queries and keys of the architecture llama."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
def test_unpermuting_undoes_the_converter(heads: int, half: int, width: int) -> None:
    rows = np.arange(heads * 2 * half * width).reshape(-1, width)
    assert np.array_equal(unpermuted(permuted(rows, heads), heads), rows)


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("200 MB", 2 * 10**8), ("1GiB", 2**30), ("0.5kb", 500), ("12345", 12345)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5XB", "GB", "-1GB", "0", "nan", "1e300GB", "five"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(PippinError, match="--max-shard-size"):
        parse_size(text)
