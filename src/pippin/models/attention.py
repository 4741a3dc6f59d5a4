"""Attention over one sequence of keys, by named backend. The reference always works.

Shapes: B batch, S queries, T keys, H query heads, K key-value heads, G = H / K, D head width.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array
from jax.nn import softmax

from pippin.errors import PippinError
from pippin.models.contraction import contract

# Far below any score, yet finite: a row that sees nothing gives no NaN.
_MASKED = -1e30


class Attention(Protocol):
    """Queries (B, S, H, D), keys and values (B, S, K, D), segments (B, S) int32 -> (B, S, H, D).

    Causal; a query sees only keys of its own segment (document).
    """

    def __call__(self, q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array) -> Array: ...


def masked_attention(q_BSHD: Array, k_BTKD: Array, v_BTKD: Array, mask_BST: Array) -> Array:
    """Softmax attention with an explicit mask (True: may look). Scores and softmax are float32."""
    b, s, h, d = q_BSHD.shape
    kv_heads = k_BTKD.shape[2]
    q_BSKGD = q_BSHD.reshape(b, s, kv_heads, h // kv_heads, d)
    scores = contract("bskgd,btkd->bkgst", q_BSKGD, k_BTKD) * (d**-0.5)
    weights = softmax(jnp.where(mask_BST[:, None, None], scores, _MASKED), axis=-1)
    mixed = contract("bkgst,btkd->bskgd", weights.astype(v_BTKD.dtype), v_BTKD)
    return mixed.reshape(b, s, h, d).astype(q_BSHD.dtype)


def reference_attention(
    q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, *, block_size: int = 128
) -> Array:
    """Causal attention in blocks of queries, each against the keys up to its own end.

    The upper triangle beyond a block is never computed: at four blocks that saves three eighths.
    `block_size >= S` is the naive form.
    """
    length = q_BSHD.shape[1]
    positions = jnp.arange(length, dtype=jnp.int32)
    blocks = []
    for start in range(0, length, block_size):
        rows = slice(start, min(start + block_size, length))
        seen = slice(0, rows.stop)
        causal = positions[rows, None] >= positions[None, seen]
        same_document = segments_BS[:, rows, None] == segments_BS[:, None, seen]
        blocks.append(
            masked_attention(q_BSHD[:, rows], k_BSKD[:, seen], v_BSKD[:, seen], causal & same_document)
        )
    return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)


BACKENDS: dict[str, Attention] = {"reference": reference_attention}


def attention_backend(name: str) -> Attention:
    """The attention function of that name.

    Raises:
        PippinError: there is none.
    """
    if name not in BACKENDS:
        raise PippinError(
            f"no attention backend named '{name}'",
            where="chip.attention",
            fix=f"known: {', '.join(BACKENDS)}",
        )
    return BACKENDS[name]
