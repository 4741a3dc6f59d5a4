from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import Array

from pippin.models.attention import masked_attention
from pippin.models.config import ModelConfig, RopeScaling
from pippin.models.decoder import gated, head_matrix, logits, rms_norm, rotary_angles, rotate

THETA, WIDTH = 500.0, 8
places = st.integers(0, 2000)
turn = jax.jit(
    lambda x, position: rotate(x[None, None, None], rotary_angles(position[None], WIDTH, THETA))[0, 0, 0]
)


def some_vectors(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, WIDTH)).astype(np.float32)


def test_rotary_angles_by_hand() -> None:
    # Pair i turns by position x theta^(-2 i / D): at place 3, 3 x (1, 500^-1/4, 500^-1/2, 500^-3/4).
    angles = 3 * np.array([1, 0.2114743, 0.0447214, 0.0094574])
    cosine, sine = rotary_angles(jnp.array([3]), WIDTH, THETA)
    np.testing.assert_allclose(cosine[0], np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sine[0], np.sin(angles), atol=1e-6)


def test_stretched_wavelengths_by_hand() -> None:
    """Pairs turn 3 x (1, 500^-1/4, 500^-1/2, 500^-3/4) at place 3; in 32 places the first turns 5.1 times and
    stays, the second 1.077 times, of which 0.0257 of the way from 1 to 4, the others less than once."""
    scaling = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=32)
    kept = (32 * 0.2114743 / (2 * np.pi) - 1) / 3
    angles = 3 * np.array([1, 0.2114743 * (kept + (1 - kept) / 8), 0.0447214 / 8, 0.0094574 / 8])
    cosine, sine = rotary_angles(jnp.array([3]), WIDTH, THETA, scaling)
    assert kept == pytest.approx(0.0257, abs=1e-4)
    np.testing.assert_allclose(cosine[0], np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(sine[0], np.sin(angles), atol=1e-6)


def test_rotary_pairs_the_two_halves() -> None:
    x = np.arange(1, 9, dtype=np.float32)
    turned = turn(x, jnp.int32(1))
    # The first pair is elements 0 and 4, the two halves' first, and turns by one radian.
    assert turned[0] == pytest.approx(1 * np.cos(1) - 5 * np.sin(1), abs=1e-5)
    assert turned[4] == pytest.approx(5 * np.cos(1) + 1 * np.sin(1), abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), places, places, st.integers(0, 500))
def test_rotary_scores_depend_on_distance_only(seed: int, first: int, second: int, shift: int) -> None:
    q, k = some_vectors(seed)

    def product(q_place: int, k_place: int) -> float:
        return float(turn(q, jnp.int32(q_place)) @ turn(k, jnp.int32(k_place)))

    # Angles of a few thousand radians, in float32, are exact to a few 1e-4.
    assert product(first, second) == pytest.approx(product(first + shift, second + shift), abs=5e-3)


def test_rotary_scores_do_depend_on_distance() -> None:
    q, k = some_vectors(0)
    products = [float(turn(q, jnp.int32(place)) @ k) for place in range(4)]
    assert np.ptp(products) > 0.1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), places)
def test_rotary_keeps_the_norm(seed: int, place: int) -> None:
    x, _ = some_vectors(seed)
    assert np.linalg.norm(turn(x, jnp.int32(place))) == pytest.approx(np.linalg.norm(x), rel=1e-5)


def test_rms_norm_is_the_formula() -> None:
    generator = np.random.default_rng(0)
    x, scale = generator.normal(3, 2, (4, 5, 16)), generator.normal(size=16)
    expected = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 0.1) * scale
    got = rms_norm(jnp.asarray(x, jnp.float32), jnp.asarray(scale, jnp.float32), 0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 16), (2, 3, 4, 8)], ids=["stream", "heads"])
def test_the_norms_gradient_is_that_of_its_formula(shape: tuple[int, ...]) -> None:
    x, pull = np.random.default_rng(0).normal(1, 2, (2, *shape)).astype(np.float32)
    scale = np.random.default_rng(1).normal(size=shape[-1]).astype(np.float32)

    def formula(x: Array, scale: Array) -> Array:
        return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 0.1) * scale

    expected = jax.vjp(formula, x, scale)[1](pull)
    got = jax.vjp(lambda x, scale: rms_norm(x, scale, 0.1), x, scale)[1](pull)
    for found, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_the_gated_products_gradient_is_that_of_its_formula() -> None:
    generator = np.random.default_rng(0)
    gate, up = generator.normal(0, 3, (2, 2, 5, 24)).astype(np.float32)
    down, pull = (generator.normal(size=size).astype(np.float32) for size in ((24, 8), (2, 5, 8)))

    def formula(gate: Array, up: Array, down: Array) -> Array:
        return (gate / (1 + jnp.exp(-gate)) * up) @ down

    expected = jax.vjp(formula, gate, up, down)[1](pull)
    for found, wanted in zip(jax.vjp(gated, gate, up, down)[1](pull), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_rms_norm_of_bfloat16_is_computed_in_float32() -> None:
    """Rounded once, at the end: squares or scales rounded on the way would move one value in three."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 512)), jnp.bfloat16)
    scale = np.random.default_rng(1).uniform(0.5, 1.5, 512)
    wide = np.asarray(x, np.float64)
    expected = wide / np.sqrt((wide**2).mean(axis=-1, keepdims=True)) * scale
    got = rms_norm(x, jnp.asarray(scale, jnp.float32), 0.0)
    assert got.dtype == jnp.bfloat16
    assert np.mean(np.asarray(got != jnp.asarray(expected, jnp.bfloat16))) < 0.001


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_head_is_the_embedding_only_where_tied(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    tied: bool,
) -> None:
    parameters = random_parameters(small_config(tie_embeddings=tied))
    hidden = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 24)), jnp.float32)
    matrix = parameters["embedding" if tied else "head"]
    np.testing.assert_array_equal(head_matrix(parameters), matrix)
    np.testing.assert_allclose(logits(parameters, hidden), hidden @ matrix.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["dense", "dropless"])
def test_scanned_and_unrolled_layers_agree(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
    structures: dict[str, dict[str, Any]],
    name: str,
) -> None:
    """In logits and gradients; the layers' parameters differ, so that their order counts."""
    config = small_config(**structures[name])
    parameters = random_parameters(config)
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 9))

    def run(scan: bool) -> Any:
        def loss(parameters: Any) -> Any:
            scores = score(parameters, tokens, config, scan=scan)
            return jnp.mean(jax.nn.logsumexp(scores, axis=-1)), scores

        return jax.jit(jax.grad(loss, has_aux=True))(parameters)

    for scanned, unrolled in zip(jax.tree.leaves(run(True)), jax.tree.leaves(run(False)), strict=True):
        np.testing.assert_allclose(scanned, unrolled, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close_to_float32(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
) -> None:
    """Within 3 % of the logits' size: bfloat16 keeps 8 bits, and two layers add up some ten roundings."""
    config = small_config()
    parameters = random_parameters(config)
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 9))
    wide = score(parameters, tokens, config)
    narrow = score(parameters, tokens, config, compute_dtype=jnp.bfloat16)
    assert wide.dtype == narrow.dtype == jnp.float32
    error = float(jnp.linalg.norm(narrow - wide) / jnp.linalg.norm(wide))
    assert 1e-4 < error < 0.03  # above zero: it was computed in the narrow type


def test_reused_keys_and_values_are_those_of_the_last_layer_that_has_them(
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    score: Callable[..., Any],
) -> None:
    """Each layer written out, with a cache of one layer handed on."""
    config = small_config(num_layers=4, kv_reuse_layers=2, qk_norm=True)
    parameters = random_parameters(config)
    tokens = np.random.default_rng(1).integers(0, config.vocab_size, (2, 9))
    angles = rotary_angles(jnp.arange(9, dtype=jnp.int32), config.head_dim, config.rope_theta)
    mask = jnp.tril(jnp.ones((9, 9), bool))[None]

    def by_hand(parameters: Any) -> Any:
        x, held = parameters["embedding"][tokens], None
        for stack, index in [("layers", 0), ("layers", 1), ("reuse_layers", 0), ("reuse_layers", 1)]:
            layer = {name: array[index] for name, array in parameters[stack].items()}
            h = rms_norm(x, layer["attention_norm"], config.norm_epsilon)

            def turned(name: str, layer: Any = layer, h: Any = h) -> Any:
                heads = rms_norm(
                    jnp.einsum("bse,ehd->bshd", h, layer[name]), layer[f"{name}_norm"], config.norm_epsilon
                )
                return rotate(heads, angles)

            if stack == "layers":
                held = turned("key"), jnp.einsum("bse,ehd->bshd", h, layer["value"])
            mixed = masked_attention(turned("query"), *held, mask)
            x = x + jnp.einsum("bshd,hde->bse", mixed, layer["output"])
            h = rms_norm(x, layer["ffn_norm"], config.norm_epsilon)
            x = x + (jax.nn.silu(h @ layer["gate"]) * (h @ layer["up"])) @ layer["down"]
        return logits(parameters, rms_norm(x, parameters["final_norm"], config.norm_epsilon))

    def both(run: Any) -> Any:
        def loss(parameters: Any) -> Any:
            scores = run(parameters)
            return jnp.mean(jax.nn.logsumexp(scores, axis=-1)), scores

        return jax.jit(jax.grad(loss, has_aux=True))(parameters)

    ours = both(lambda parameters: score(parameters, tokens, config))
    for got, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(both(by_hand)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
