"""Attention to some of the keys, and how parts make a whole: for rings, where keys come from other devices.

Shapes: B batch, S queries, T keys, H query heads, K key-value heads, D head width; H is a multiple of K.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from pippin.models.attention import tiles
from pippin.models.attention.tiles import Places


class Part(NamedTuple):
    """What a set of keys gives to each query.

    Attributes:
        mixed: (B, S, H, D) float32, the values mixed with weights that add up to one over these keys; zero
            where a query sees none of them.
        log_sum: (B, S, H) float32, logarithm of the sum of exponentials of the scores; about -1e20 where a
            query sees none.
    """

    mixed: Array
    log_sum: Array


def merge(first: Part, second: Part) -> Part:
    """The part over both sets of keys, which must not overlap. Differentiable."""
    log_sum = jnp.logaddexp(first.log_sum, second.log_sum)
    mixed = sum(part.mixed * jnp.exp(part.log_sum - log_sum)[..., None] for part in (first, second))
    return Part(jnp.asarray(mixed), log_sum)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def partial_attention(
    q_BSHD: Array,
    k_BTKD: Array,
    v_BTKD: Array,
    queries: Places,
    keys: Places,
    block_size: int = tiles.BLOCK_QUERIES,
) -> Part:
    """Attention of some queries to some keys: causal by position, within documents.

    Both may be any pieces of a sequence in any order. Positions are not known when it is compiled, so
    nothing is left out: a caller that knows better calls it with fewer keys. Differentiable by q, k and v
    through both results. Memory grows with S + T, not with S x T, forward and backward; scores are computed
    again from the log-sum. A ring that writes its own backward pass calls `part_gradients` for each piece
    and needs to keep the merged result alone.

    Args:
        q_BSHD: queries, turned by their positions.
        k_BTKD, v_BTKD: keys and values, of the queries' type.
        queries: places of the S queries.
        keys: places of the T keys.
        block_size: queries whose scores exist at once.
    """
    part, _ = _forward(q_BSHD, k_BTKD, v_BTKD, queries, keys, block_size)
    return part


def part_gradients(
    q_BSHD: Array,
    k_BTKD: Array,
    v_BTKD: Array,
    queries: Places,
    keys: Places,
    log_sum_BSH: Array,
    pull_BSHD: Array,
    shift_BSH: Array,
    block_size: int = tiles.BLOCK_QUERIES,
) -> tuple[Array, Array, Array]:
    """What these keys contribute to the gradients by q, k and v, in their shapes, float32.

    Args:
        q_BSHD, k_BTKD, v_BTKD, queries, keys, block_size: as in `partial_attention`.
        log_sum_BSH: over all keys that the query sees, on every device, after the last merge.
        pull_BSHD: gradient by the final mixture.
        shift_BSH: `sum_D(pull * final mixture)`, float32, less the gradient by the log-sum.
    """
    pull = pull_BSHD.astype(q_BSHD.dtype)
    return tiles.gradients(q_BSHD, k_BTKD, v_BTKD, queries, keys, block_size, log_sum_BSH, pull, shift_BSH)


def _forward(
    q: Array, k: Array, v: Array, queries: Places, keys: Places, block_size: int
) -> tuple[Part, tuple[Any, ...]]:
    part = Part(*tiles.attend(q, k, v, queries, keys, block_size))
    return part, (q, k, v, queries, keys, part)


def _backward(
    block_size: int, residuals: tuple[Any, ...], pulls: Part
) -> tuple[Array, Array, Array, None, None]:
    q, k, v, queries, keys, part = residuals
    shift = jnp.sum(pulls.mixed * part.mixed, axis=-1) - pulls.log_sum
    by_q, by_k, by_v = part_gradients(q, k, v, queries, keys, part.log_sum, pulls.mixed, shift, block_size)
    return by_q.astype(q.dtype), by_k.astype(k.dtype), by_v.astype(v.dtype), None, None


partial_attention.defvjp(_forward, _backward)
