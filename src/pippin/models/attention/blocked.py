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
from pippin.models.recompute import after

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


def _places(segments_BS: Array) -> Places:
    return Places(jnp.arange(segments_BS.shape[1], dtype=jnp.int32), segments_BS)


def _forward(
    q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, block_size: int
) -> tuple[Array, tuple[Array, ...]]:
    q, k, v = _heads_first(q_BSHD, k_BSKD, v_BSKD)
    places = _places(segments_BS)
    parts = [
        tiles.attend(
            q[:, :, :, start:stop],
            k[:, :, :stop],
            v[:, :, :stop],
            places.slice(start, stop),
            places.slice(0, stop),
            block_size,
        )
        for start, stop in _spans(q_BSHD.shape[1], block_size)
    ]
    mixed, log_sum = (jnp.concatenate(arrays, axis=3) for arrays in zip(*parts, strict=True))
    out_BSHD = tiles.heads_last(mixed.astype(q_BSHD.dtype))
    return out_BSHD, (q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum)


def _backward(
    block_size: int, residuals: tuple[Array, ...], pull_BSHD: Array
) -> tuple[Array, Array, Array, None]:
    q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum = residuals
    # What is cut out of them is cut anew: that of the forward pass would be kept, of all layers.
    q, k, v = _heads_first(*(after(array, pull_BSHD) for array in (q_BSHD, k_BSKD, v_BSKD)))
    shift_BSH = jnp.sum(pull_BSHD.astype(jnp.float32) * out_BSHD.astype(jnp.float32), axis=-1)
    pull, shift = (tiles.heads_first(array, k.shape[1]) for array in (pull_BSHD, shift_BSH))
    places = _places(segments_BS)
    by_q, by_k, by_v = [], jnp.zeros_like(k, jnp.float32), jnp.zeros_like(v, jnp.float32)
    for start, stop in _spans(q_BSHD.shape[1], block_size):
        span = slice(start, stop)
        span_q, span_k, span_v = tiles.gradients(
            q[:, :, :, span],
            k[:, :, :stop],
            v[:, :, :stop],
            places.slice(start, stop),
            places.slice(0, stop),
            block_size,
            log_sum[..., span],
            pull[:, :, :, span],
            shift[..., span],
        )
        by_q.append(span_q)
        by_k, by_v = by_k.at[:, :, :stop].add(span_k), by_v.at[:, :, :stop].add(span_v)
    by_q_BSHD = tiles.heads_last(jnp.concatenate(by_q, axis=3))
    return (
        by_q_BSHD.astype(q_BSHD.dtype),
        jnp.swapaxes(by_k, 1, 2).astype(k_BSKD.dtype),
        jnp.swapaxes(by_v, 1, 2).astype(v_BSKD.dtype),
        None,
    )


def _heads_first(q_BSHD: Array, k_BSKD: Array, v_BSKD: Array) -> tuple[Array, Array, Array]:
    q = tiles.heads_first(q_BSHD, k_BSKD.shape[2])
    return q, jnp.swapaxes(k_BSKD, 1, 2), jnp.swapaxes(v_BSKD, 1, 2)


reference_attention.defvjp(_forward, _backward)
