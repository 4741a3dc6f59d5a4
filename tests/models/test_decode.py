from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.models.config import ModelConfig
from pippin.models.decode import decode_step, empty_cache


@pytest.fixture
def decode() -> Callable[..., np.ndarray]:
    """Logits (S, V) of each token of a sequence, one call a token."""

    def run(parameters: Any, tokens: np.ndarray, config: ModelConfig, length: int, dtype: Any) -> np.ndarray:
        step = jax.jit(partial(decode_step, config=config))
        cache, rows = empty_cache(config, length, dtype), []
        for position, token in enumerate(tokens):
            row, cache = step(parameters, cache, jnp.int32(token), jnp.int32(position))
            rows.append(np.asarray(row))
        return np.stack(rows)

    return run


def test_equals_the_decoder_at_each_position(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
    decode: Callable[..., np.ndarray],
    structure: dict[str, Any],
) -> None:
    """At a capacity that drops nothing; a token alone never exceeds any."""
    config = small_config(tie_embeddings=False, **structure)
    parameters = random_parameters(config)
    tokens = np.random.default_rng(3).integers(0, config.vocab_size, 11)
    expected = np.asarray(score(parameters, tokens[None], config)[0])
    got = decode(parameters, tokens, config, 16, jnp.float32)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_past_its_length_the_ring_is_a_window(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
    decode: Callable[..., np.ndarray],
) -> None:
    """One layer's keys and values hang on nothing but their token, so the window is exactly a shorter text.

    Positions count on while those of the shorter text start at zero: scores depend on distances only.
    """
    config = small_config(num_layers=1)
    parameters = random_parameters(config)
    length, tokens = 5, np.random.default_rng(4).integers(0, config.vocab_size, 17)
    got = decode(parameters, tokens, config, length, jnp.float32)
    windows = np.stack([tokens[end - length : end] for end in range(length, len(tokens) + 1)])
    expected = np.asarray(score(parameters, windows, config)[:, -1])
    np.testing.assert_allclose(got[length - 1 :], expected, rtol=1e-4, atol=1e-4)
    # With nothing forgotten the scores are others, so the comparison above can tell.
    everything = np.asarray(score(parameters, tokens[None], config)[0])
    assert np.abs(everything[length:] - got[length:]).max(axis=-1).min() > 1e-3


def test_bfloat16_cache_is_close_to_float32(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    decode: Callable[..., np.ndarray],
) -> None:
    """Within 3 % of the logits' size, as for the decoder itself."""
    config = small_config()
    parameters = random_parameters(config)
    tokens = np.random.default_rng(5).integers(0, config.vocab_size, 9)
    wide = decode(parameters, tokens, config, 6, jnp.float32)
    narrow = decode(parameters, tokens, config, 6, jnp.bfloat16)
    assert narrow.dtype == np.float32
    assert 1e-4 < np.linalg.norm(narrow - wide) / np.linalg.norm(wide) < 0.03


def test_cache_keeps_its_type_and_shape(
    small_config: Callable[..., ModelConfig], random_parameters: Callable[[ModelConfig], dict[str, Any]]
) -> None:
    config = small_config()
    cache = empty_cache(config, 6, jnp.bfloat16)
    assert {array.shape for array in cache.values()} == {(2, 1, 6, 2, 8)}
    _, after = jax.eval_shape(
        partial(decode_step, config=config), random_parameters(config), cache, jnp.int32(0), jnp.int32(0)
    )
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
        lambda a: (a.shape, a.dtype), cache
    )


def test_only_layers_with_keys_of_their_own_are_cached(small_config: Callable[..., ModelConfig]) -> None:
    cache = empty_cache(small_config(num_layers=8, kv_reuse_layers=3), 6, jnp.float32)
    assert {array.shape for array in cache.values()} == {(5, 1, 6, 2, 8)}
