"""The reference: causal attention in blocks, for any chip. Memory grows with the sequence, not its square.

Shapes as in `models.attention.tiles`.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from pippin.models.attention import tiles
from pippin.models.attention.tiles import Places

# Parts of the sequence that are written out, each against the keys up to its own end. Of the square of
# scores (n + 1) / 2 n are computed; more parts take longer to compile for little.
_MAX_SPANS = 8


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def reference_attention(
    q_BSHD: Array,
    k_BSKD: Array,
    v_BSKD: Array,
    segments_BS: Array,
    block_size: int = tiles.BLOCK_QUERIES,
) -> Array:
    """Causal attention within documents.

    Neither pass holds more than the scores of `block_size` queries at once: the backward pass computes them
    again. What lies beyond the end of a span of queries is not computed.
    """
    out, _ = _forward(q_BSHD, k_BSKD, v_BSKD, segments_BS, block_size)
    return out


def _spans(length: int, block_size: int) -> list[tuple[int, int]]:
    """Start and stop of the spans: whole blocks each, but for the last."""
    blocks = -(-length // block_size)
    size = -(-blocks // _MAX_SPANS) * block_size
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _forward_block(length: int, block_size: int) -> int:
    """Queries of a block in the forward pass: down to half, in sixteens, while every span is written out.

    Less of the square is computed then. In the backward pass the products that sum over queries are slower
    with few. Measured on a CPU (docs/performance.md).
    """
    least = 16 * -(-length // (16 * _MAX_SPANS))
    return min(block_size, max(block_size // 2, least))


def _places(segments_BS: Array) -> Places:
    return Places(jnp.arange(segments_BS.shape[1], dtype=jnp.int32), segments_BS)


def _forward(
    q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, block_size: int
) -> tuple[Array, tuple[Array, ...]]:
    places = _places(segments_BS)
    block_size = _forward_block(q_BSHD.shape[1], block_size)
    parts = [
        tiles.attend(
            q_BSHD[:, start:stop],
            k_BSKD[:, :stop],
            v_BSKD[:, :stop],
            places.slice(start, stop),
            places.slice(0, stop),
            block_size,
        )
        for start, stop in _spans(q_BSHD.shape[1], block_size)
    ]
    mixed, log_sum = (jnp.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    out_BSHD = mixed.astype(q_BSHD.dtype)
    return out_BSHD, (q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum)


def _backward(
    block_size: int, residuals: tuple[Array, ...], pull_BSHD: Array
) -> tuple[Array, Array, Array, None]:
    q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum_BSH = residuals
    shift_BSH = jnp.sum(pull_BSHD.astype(jnp.float32) * out_BSHD.astype(jnp.float32), axis=-1)
    places = _places(segments_BS)
    by_q, by_k, by_v = [], jnp.zeros_like(k_BSKD, jnp.float32), jnp.zeros_like(v_BSKD, jnp.float32)
    for start, stop in _spans(q_BSHD.shape[1], block_size):
        span = slice(start, stop)
        span_q, span_k, span_v = tiles.gradients(
            q_BSHD[:, span],
            k_BSKD[:, :stop],
            v_BSKD[:, :stop],
            places.slice(start, stop),
            places.slice(0, stop),
            block_size,
            log_sum_BSH[:, span],
            pull_BSHD[:, span],
            shift_BSH[:, span],
        )
        by_q.append(span_q)
        by_k, by_v = by_k.at[:, :stop].add(span_k), by_v.at[:, :stop].add(span_v)
    by_q_BSHD = jnp.concatenate(by_q, axis=1)
    return by_q_BSHD.astype(q_BSHD.dtype), by_k.astype(k_BSKD.dtype), by_v.astype(v_BSKD.dtype), None


reference_attention.defvjp(_forward, _backward)
