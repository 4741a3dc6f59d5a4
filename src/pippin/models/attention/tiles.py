"""A block of queries against some keys, forward and backward, and the loop over blocks.

Tokens come before heads outside, heads first within. Shapes: B batch, H query heads, K key-value heads, G
query heads to each, S queries, R queries of a block, T keys, D head width. The G heads that share a key head
are rows of one product, G x R of them. Scores, softmax and sums are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from pippin.models.attention.naive import MASKED
from pippin.models.contraction import product
from pippin.models.recompute import after

# Queries of a block, measured on two cores (docs/performance.md).
BLOCK_QUERIES = 128
# Above what is masked and below any score: with it for the maximum of a row that sees nothing, the row's
# weights are zero and not one.
_NOTHING_SEEN = -1e20
_TINY = 1e-30
# The document of padding, which no token has.
_NO_DOCUMENT = -(2**31)


@partial(jax.tree_util.register_dataclass, data_fields=["positions", "segments"], meta_fields=[])
@dataclass(frozen=True)
class Places:
    """Where tokens stand: int32 positions in the whole sequence (S,), int32 document numbers (B, S)."""

    positions: Array
    segments: Array

    def slice(self, start: int, stop: int) -> Places:
        """The places of some of the tokens."""
        return Places(self.positions[start:stop], self.segments[:, start:stop])


def _heads_first(array_BSHX: Array, kv_heads: int) -> Array:
    """(B, S, H, ...) to (B, K, G, S, ...)."""
    b, s, h = array_BSHX.shape[:3]
    return jnp.moveaxis(array_BSHX.reshape(b, s, kv_heads, h // kv_heads, *array_BSHX.shape[3:]), 1, 3)


def _heads_last(array_BKGSX: Array) -> Array:
    """Undoes `_heads_first`."""
    b, kv_heads, group, s = array_BKGSX.shape[:4]
    return jnp.moveaxis(array_BKGSX, 3, 1).reshape(b, s, kv_heads * group, *array_BKGSX.shape[4:])


def scaled(array: Array) -> Array:
    """Divided by the square root of the last dimension: S x D quotients instead of S x T."""
    wide: Array = array.astype(jnp.float32) * array.shape[-1] ** -0.5
    return wide.astype(array.dtype)


def attend(
    q_BSHD: Array, k_BTKD: Array, v_BTKD: Array, queries: Places, keys: Places, block: int
) -> tuple[Array, Array]:
    """The mixture (B, S, H, D), normalised over these keys, and the log-sum (B, S, H), float32."""
    k, v = (jnp.swapaxes(array, 1, 2) for array in (k_BTKD, v_BTKD))
    q = _heads_first(scaled(q_BSHD), k.shape[1])

    def body(carry: None, rows: tuple[Array, Places]) -> tuple[None, tuple[Array, Array]]:
        q_BKGRD, places = rows
        return carry, _attend_block(q_BKGRD, k, v, _mask(places, keys))

    _, out = _over_blocks(body, None, (_split(q, 3, block), _split_places(queries, block)))
    mixed, log_sum = (_heads_last(_join(array, q.shape[3])) for array in out)
    return mixed, log_sum


def gradients(
    q_BSHD: Array,
    k_BTKD: Array,
    v_BTKD: Array,
    queries: Places,
    keys: Places,
    block: int,
    log_sum_BSH: Array,
    pull_BSHD: Array,
    shift_BSH: Array,
) -> tuple[Array, Array, Array]:
    """By queries, keys and values, float32, in their shapes. See `partial_attention`.

    Scores are computed again, `after` the gradient is there. They have keys in rows: the products that sum
    over queries then need no transposed copy of them.
    """
    kv_heads = k_BTKD.shape[2]
    # Put into another order anew: what the forward pass has of it would be kept, of all layers.
    q, k, v = (after(array, pull_BSHD) for array in (q_BSHD, k_BTKD, v_BTKD))
    k, v = (jnp.swapaxes(array, 1, 2) for array in (k, v))

    def body(sums: tuple[Array, Array], rows: tuple[Any, ...]) -> tuple[tuple[Array, Array], Array]:
        q, places, log_sum, pull, shift = rows
        by_q, by_k, by_v = _block_gradients(q, k, v, _mask(places, keys), log_sum, pull, shift)
        return (sums[0] + by_k, sums[1] + by_v), by_q

    by_rows = (_heads_first(array, kv_heads) for array in (scaled(q), log_sum_BSH, pull_BSHD, shift_BSH))
    blocks_q, *others = (_split(array, 3, block) for array in by_rows)
    zeros = (jnp.zeros_like(k, jnp.float32), jnp.zeros_like(v, jnp.float32))
    (by_k, by_v), by_q = _over_blocks(body, zeros, (blocks_q, _split_places(queries, block), *others))
    by_q = scaled(_heads_last(_join(by_q, q_BSHD.shape[1])))
    return by_q, jnp.swapaxes(by_k, 1, 2), jnp.swapaxes(by_v, 1, 2)


def _fold(array_BKGRX: Array) -> Array:
    """Heads that share keys become rows: (B, K, G x R, X)."""
    b, kv_heads, group, rows = array_BKGRX.shape[:4]
    return array_BKGRX.reshape(b, kv_heads, group * rows, *array_BKGRX.shape[4:])


def _attend_block(q_BKGRD: Array, k_BKTD: Array, v_BKTD: Array, mask_BRT: Array) -> tuple[Array, Array]:
    scores = product("bknd,bktd->bknt", _fold(q_BKGRD), k_BKTD).reshape(*q_BKGRD.shape[:4], -1)
    scores = jnp.where(mask_BRT[:, None, None], scores, MASKED)
    highest = jnp.maximum(jnp.max(scores, axis=-1), _NOTHING_SEEN)
    # Held back from fusion: the compiler would take each exponential twice, for the sum and for the product.
    weights = lax.optimization_barrier(jnp.exp(scores - highest[..., None]))
    total = jnp.maximum(jnp.sum(weights, axis=-1), _TINY)
    mixed = product("bknt,bktd->bknd", _fold(weights).astype(v_BKTD.dtype), v_BKTD)
    return mixed.reshape(q_BKGRD.shape) / total[..., None], highest + jnp.log(total)


def _block_gradients(
    q_BKGRD: Array,
    k_BKTD: Array,
    v_BKTD: Array,
    mask_BRT: Array,
    log_sum_BKGR: Array,
    pull_BKGRD: Array,
    shift_BKGR: Array,
) -> tuple[Array, Array, Array]:
    """By the queries, which come scaled, by keys and by values."""
    dtype, group = q_BKGRD.dtype, q_BKGRD.shape[2:4]
    q, pull = _fold(q_BKGRD), _fold(pull_BKGRD)
    scores = product("bktd,bknd->bktn", k_BKTD, q).reshape(*k_BKTD.shape[:3], *group)
    mask_BTR = jnp.swapaxes(mask_BRT, 1, 2)
    scores = jnp.where(mask_BTR[:, None, :, None], scores, MASKED)
    weights = jnp.exp(scores - log_sum_BKGR[:, :, None]).reshape(*k_BKTD.shape[:3], -1)
    by_weights = product("bktd,bknd->bktn", v_BKTD, pull)
    by_scores = (weights * (by_weights - _fold(shift_BKGR)[:, :, None])).astype(dtype)
    # With the smaller operand first, the only one that is then copied transposed.
    by_q = product("bktd,bktn->bkdn", k_BKTD, by_scores).reshape(*q.shape[:2], -1, *group)
    by_k = product("bktn,bknd->bktd", by_scores, q)
    by_v = product("bktn,bknd->bktd", weights.astype(dtype), pull)
    return jnp.moveaxis(by_q, 2, 4), by_k, by_v


def _mask(queries: Places, keys: Places) -> Array:
    """(B, R, T): which keys a query may look at."""
    causal = queries.positions[:, None] >= keys.positions[None, :]
    return causal & (queries.segments[:, :, None] == keys.segments[:, None, :])


def _over_blocks(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Any) -> tuple[Any, Any]:
    """`lax.scan` over what has the blocks in front, without a loop where there is one."""
    if jax.tree.leaves(rows)[0].shape[0] > 1:
        return lax.scan(body, carry, rows)
    carry, out = body(carry, jax.tree.map(lambda array: array[0], rows))
    return carry, jax.tree.map(lambda array: array[None], out)


def _split(array: Array, axis: int, block: int, padding: int = 0) -> Array:
    """Blocks of at most `block` along an axis, in front; the last one is filled up."""
    length = array.shape[axis]
    size = min(block, length)
    missing = -length % size
    if missing:
        widths = [(0, missing if place == axis else 0) for place in range(array.ndim)]
        array = jnp.pad(array, widths, constant_values=padding)
    shape = (*array.shape[:axis], -1, size, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)


def _split_places(places: Places, block: int) -> Places:
    segments = _split(places.segments, 1, block, padding=_NO_DOCUMENT)
    return Places(_split(places.positions, 0, block), segments)


def _join(array_NBKGRX: Array, length: int) -> Array:
    """Undoes `_split` of the fourth axis."""
    joined = jnp.moveaxis(array_NBKGRX, 0, 3)
    joined = joined.reshape(*joined.shape[:3], -1, *joined.shape[5:])
    return joined[:, :, :, :length]
