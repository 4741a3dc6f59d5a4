"""Attention by kernels that come with JAX, for the chips they are written for. Not run on those chips here:
splash is tested in Pallas' interpreter, cuDNN cannot even be lowered without its library.

Shapes as in `models.attention.tiles`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from pippin.models.attention.tiles import scaled

# Rows of queries and keys in a tile of splash; wider ones keep the matrix unit busier.
_SPLASH_BLOCKS = (512, 256, 128)
SPLASH_MULTIPLE = _SPLASH_BLOCKS[-1]


def cudnn_attention(q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array) -> Array:
    """cuDNN's flash attention, causal. Takes no document numbers: each row must be one document."""
    del segments_BS
    return jax.nn.dot_product_attention(q_BSHD, k_BSKD, v_BSKD, is_causal=True, implementation="cudnn")


def splash_attention(
    q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, *, interpret: bool = False
) -> Array:
    """Splash attention for TPUs, causal and within documents; skips blocks above the diagonal.

    Args:
        q_BSHD, k_BSKD, v_BSKD, segments_BS: as for every backend; S is a multiple of 128.
        interpret: run the kernel in Pallas' interpreter, on any chip.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length, heads = q_BSHD.shape[1:3]
    block = next(size for size in _SPLASH_BLOCKS if length % size == 0)
    kernel = splash.make_splash_mha(
        masks.MultiHeadMask([masks.CausalMask((length, length))] * heads),
        block_sizes=splash.BlockSizes(
            block_q=block,
            block_kv=block,
            block_kv_compute=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_kv_dkv_compute=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )
    q, k, v = (jnp.swapaxes(array, 1, 2) for array in (scaled(q_BSHD), k_BSKD, v_BSKD))
    mixed = jax.vmap(kernel)(q, k, v, splash.SegmentIds(segments_BS, segments_BS))
    return jnp.swapaxes(mixed, 1, 2).astype(q_BSHD.dtype)
