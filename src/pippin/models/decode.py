"""Decoding one token at a time with a cache of keys and values.

The cache is a ring of `length` places: past that, the oldest token falls out. Keys are stored already
turned by their absolute position, and rotary scores depend on distances only, so nothing is recomputed.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from pippin.models import decoder
from pippin.models.attention import masked_attention
from pippin.models.config import ModelConfig
from pippin.models.decoder import KeysValues
from pippin.models.functions import Parameters

Cache = dict[str, Array]


def empty_cache(config: ModelConfig, length: int, dtype: Any) -> Cache:
    """Keys and values of one sequence: two arrays (layers with keys of their own, 1, length, K, D)."""
    layers = config.num_layers - config.kv_reuse_layers
    shape = (layers, 1, length, config.num_kv_heads, config.head_dim)
    return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}


def decode_step(
    parameters: Parameters, cache: Cache, token: Array, position: Array, config: ModelConfig
) -> tuple[Array, Cache]:
    """Adds one token to the sequence and scores the next.

    Experts drop nothing here, whatever the capacity in training: a token alone never exceeds it.

    Args:
        parameters: float32 pytree.
        cache: from `empty_cache` or the last call; its type is the compute type.
        token: int32 scalar.
        position: int32 scalar, how many tokens came before.
        config: the shape.

    Returns:
        Logits (V,) float32, and the cache with this token in it.
    """
    length, dtype = cache["key"].shape[2], cache["key"].dtype
    slot = position % length
    angles = decoder.rotary_angles(position[None], config.head_dim, config.rope_theta, config.rope_scaling)
    filled = jnp.arange(length, dtype=jnp.int32) <= position  # all of them once the ring is full

    def body(x_BSE: Array, inputs: tuple[Parameters, Array, Array]) -> tuple[Array, KeysValues]:
        layer, keys, values = inputs

        def attend(q: Array, own: KeysValues | None) -> tuple[Array, KeysValues]:
            assert own is not None
            kept = (
                lax.dynamic_update_slice_in_dim(keys, own[0], slot, axis=1),
                lax.dynamic_update_slice_in_dim(values, own[1], slot, axis=1),
            )
            return masked_attention(q, *kept, filled[None, None]), kept

        x_BSE, (kept, _) = decoder.block(x_BSE, layer, angles, config, attend)
        return x_BSE, kept

    x_BSE = parameters["embedding"][token][None, None].astype(dtype)
    x_BSE, (keys, values) = lax.scan(body, x_BSE, (parameters["layers"], cache["key"], cache["value"]))

    def reuse(x_BSE: Array, layer: Parameters) -> tuple[Array, None]:
        def attend(q: Array, _: KeysValues | None) -> tuple[Array, None]:
            return masked_attention(q, keys[-1], values[-1], filled[None, None]), None

        return decoder.block(x_BSE, layer, angles, config, attend)[0], None

    if config.kv_reuse_layers:
        x_BSE, _ = lax.scan(reuse, x_BSE, parameters["reuse_layers"])
    hidden = decoder.rms_norm(x_BSE, parameters["final_norm"], config.norm_epsilon)
    return decoder.logits(parameters, hidden)[0, 0], {"key": keys, "value": values}
