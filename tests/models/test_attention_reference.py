from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.attention import naive_attention, reference_attention
from pippin.models.attention.blocked import _forward_block, _spans
from pippin.models.config import ModelConfig

BATCH, KV_HEADS, WIDTH = 2, 2, 4
# Float32 sums in another order: a few units in the last place of values near one.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def some_inputs(
    length: int, group: int, seed: int = 0, width: int = WIDTH
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries with `group` heads to each key-value head, keys and values."""
    generator = np.random.default_rng(seed)
    sizes = [(BATCH, length, heads, width) for heads in (KV_HEADS * group, KV_HEADS, KV_HEADS)]
    q, k, v = (generator.normal(size=size).astype(np.float32) for size in sizes)
    return q, k, v


def some_segments(length: int, seed: int = 0) -> np.ndarray:
    """Document numbers that ascend at random places, as packing makes them."""
    starts = np.random.default_rng(seed).random((BATCH, length)) < 0.3
    return np.cumsum(starts, axis=1).astype(np.int32)


def by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Attention one query at a time, in float64."""
    result = np.zeros_like(q, np.float64)
    group = q.shape[2] // k.shape[2]
    for b, i, h in np.ndindex(*q.shape[:3]):
        seen = [j for j in range(i + 1) if segments[b, j] == segments[b, i]]
        scores = np.array([q[b, i, h].astype(float) @ k[b, j, h // group] for j in seen]) / q.shape[3] ** 0.5
        weights = np.exp(scores - scores.max())
        result[b, i, h] = sum(
            w * v[b, j, h // group] for w, j in zip(weights / weights.sum(), seen, strict=True)
        )
    return result


@pytest.mark.parametrize(("group", "block_size"), [(1, 4), (3, 2), (3, 100)])
def test_equals_attention_by_hand(group: int, block_size: int) -> None:
    q, k, v = some_inputs(11, group)
    segments = some_segments(11)
    result = jax.jit(partial(reference_attention, block_size=block_size))(q, k, v, segments)
    np.testing.assert_allclose(result, by_hand(q, k, v, segments), **TOLERANCE)


@pytest.mark.parametrize(
    ("length", "queries"), [(1, 64), (128, 64), (512, 64), (513, 80), (768, 96), (1000, 128), (4096, 128)]
)
def test_the_forward_pass_takes_small_blocks_while_all_spans_are_written_out(
    length: int, queries: int
) -> None:
    block = _forward_block(length, 128)
    assert block == queries
    assert len(_spans(length, block)) <= 8


def values_and_gradients(attention: Any, inputs: Any, segments: Any, pull: Any) -> list[Any]:
    def run(q: Any, k: Any, v: Any) -> Any:
        out = attention(q, k, v, segments)
        return jnp.sum(out.astype(jnp.float32) * pull), out

    (_, out), gradients = jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True))(*inputs)
    return [out, *gradients]


@pytest.mark.parametrize(
    ("length", "block_size", "group"),
    # One token; spans of one block; a last span that is short; spans of several blocks, the last filled up.
    # Blocks of 16 forward and of 24 backward.
    [(1, 1, 1), (12, 6, 3), (17, 4, 2), (43, 2, 2), (43, 24, 2)],
)
def test_blocks_equal_the_naive_form_in_values_and_gradients(
    length: int, block_size: int, group: int
) -> None:
    inputs, segments = some_inputs(length, group), some_segments(length)
    pull = np.random.default_rng(1).normal(size=inputs[0].shape).astype(np.float32)
    naive = values_and_gradients(naive_attention, inputs, segments, pull)
    attention = partial(reference_attention, block_size=block_size)
    blocked = values_and_gradients(attention, inputs, segments, pull)
    for expected, got in zip(naive, blocked, strict=True):
        np.testing.assert_allclose(got, expected, **TOLERANCE)
    if length > 1:  # a single token's weight is one whatever its score
        assert all(np.abs(array).max() > 1e-3 for array in naive)


@pytest.mark.parametrize("width", [4, 6])
def test_bfloat16_is_close_to_float32_in_values_and_gradients(width: int) -> None:
    """Within 2 %: inputs, weights and what flows back are rounded to 8 bits, scaled queries of 6 again."""
    inputs, segments = some_inputs(17, 2, width=width), some_segments(17)
    pull = np.random.default_rng(1).normal(size=inputs[0].shape).astype(np.float32)
    wide = values_and_gradients(naive_attention, inputs, segments, pull)
    narrow_inputs = [jnp.asarray(array, jnp.bfloat16) for array in inputs]
    narrow = values_and_gradients(partial(reference_attention, block_size=4), narrow_inputs, segments, pull)
    for expected, got in zip(wide, narrow, strict=True):
        assert got.dtype == jnp.bfloat16
        difference = np.asarray(got, float) - np.asarray(expected, float)
        assert np.linalg.norm(difference) / np.linalg.norm(np.asarray(expected, float)) < 0.02


def temporary_bytes(length: int, attention: Any) -> int:
    """What XLA sets aside for the gradients at that length, beside arguments and results."""
    array = jax.ShapeDtypeStruct((1, length, 2, 4), jnp.float32)
    segments = jax.ShapeDtypeStruct((1, length), jnp.int32)

    def total(q: Any, k: Any, v: Any, segments: Any) -> Any:
        return jnp.sum(attention(q, k, v, segments))

    compiled = jax.jit(jax.grad(total, (0, 1, 2))).lower(array, array, array, segments).compile()
    return int(compiled.memory_analysis().temp_size_in_bytes)


def test_memory_grows_with_the_sequence_and_not_with_its_square() -> None:
    """At four times the length; the naive form shows that the measurement sees a square."""
    blocked = partial(reference_attention, block_size=128)
    assert temporary_bytes(2048, blocked) < 4.5 * temporary_bytes(512, blocked)
    assert temporary_bytes(2048, naive_attention) > 12 * temporary_bytes(512, naive_attention)


NAIVE = jax.jit(naive_attention)
BLOCKED = jax.jit(partial(reference_attention, block_size=5))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=BATCH * 13, max_size=BATCH * 13), st.integers(0, 1000))
def test_blocks_equal_the_naive_form_for_any_segments(numbers: list[int], seed: int) -> None:
    """Also for document numbers that come back, as no packing makes them."""
    q, k, v = some_inputs(13, 2, seed)
    segments = np.array(numbers, np.int32).reshape(BATCH, 13)
    np.testing.assert_allclose(BLOCKED(q, k, v, segments), NAIVE(q, k, v, segments), **TOLERANCE)


def test_a_query_that_sees_only_itself_returns_its_value() -> None:
    q, k, v = some_inputs(13, 2)
    apart = np.broadcast_to(np.arange(13, dtype=np.int32), (BATCH, 13))
    np.testing.assert_allclose(BLOCKED(q, k, v, apart), np.repeat(v, 2, axis=2), **TOLERANCE)


def test_result_has_the_type_of_the_queries() -> None:
    q, k, v = (jnp.asarray(array, jnp.bfloat16) for array in some_inputs(5, 2))
    assert jax.eval_shape(reference_attention, q, k, v, some_segments(5)).dtype == jnp.bfloat16


def test_documents_and_later_tokens_do_not_reach_a_position(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
) -> None:
    """Through the whole decoder: what may not be seen changes no bit, what may be seen changes much."""
    config = small_config()
    parameters = random_parameters(config)
    tokens = np.random.default_rng(2).integers(0, config.vocab_size, (1, 12))
    segments = np.array([[0] * 5 + [1] * 7])
    run = jax.jit(lambda tokens: score(parameters, tokens, config, segments=segments, block_size=5))

    def changed_at(place: int) -> np.ndarray:
        """Where the logits move when the token at `place` becomes another."""
        other = tokens.copy()
        other[0, place] = (other[0, place] + 1) % config.vocab_size
        return np.abs(np.asarray(run(other) - run(tokens)))[0].max(axis=-1)

    for place, last_of_document in [(0, 4), (2, 4), (4, 4), (5, 11), (8, 11), (11, 11)]:
        moved = changed_at(place)
        assert np.all(moved[:place] == 0), "a later token reached an earlier one"
        assert np.all(moved[place : last_of_document + 1] > 1e-4), "a token did not reach its own document"
        assert np.all(moved[last_of_document + 1 :] == 0), "a token reached another document"
