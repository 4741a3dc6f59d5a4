"""Attention written as one would first, with its whole score array: small shapes, decoding, and tests.

Shapes: B batch, S queries, T keys, H query heads, K key-value heads, G = H / K, D head width.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.nn import softmax

from pippin.models.contraction import contract

# Far below any score, yet finite: a row that sees nothing gives no NaN.
MASKED = -1e30


def masked_attention(q_BSHD: Array, k_BTKD: Array, v_BTKD: Array, mask_BST: Array) -> Array:
    """Softmax attention with an explicit mask (True: may look). Scores and softmax are float32."""
    b, s, h, d = q_BSHD.shape
    kv_heads = k_BTKD.shape[2]
    q_BSKGD = q_BSHD.reshape(b, s, kv_heads, h // kv_heads, d)
    scores = contract("bskgd,btkd->bkgst", q_BSKGD, k_BTKD) * (d**-0.5)
    weights = softmax(jnp.where(mask_BST[:, None, None], scores, MASKED), axis=-1)
    mixed = contract("bkgst,btkd->bskgd", weights.astype(v_BTKD.dtype), v_BTKD)
    return mixed.reshape(b, s, h, d).astype(q_BSHD.dtype)


def naive_attention(q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array) -> Array:
    """Causal attention within documents. Its memory grows with the square of the sequence: an oracle."""
    place = jnp.arange(q_BSHD.shape[1], dtype=jnp.int32)
    causal = place[:, None] >= place[None, :]
    same_document = segments_BS[:, :, None] == segments_BS[:, None, :]
    return masked_attention(q_BSHD, k_BSKD, v_BSKD, causal & same_document)
