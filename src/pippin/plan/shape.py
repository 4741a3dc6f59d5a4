"""Models as arrays: what the step-time and memory formulas need of a shape, for many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from pippin.models.config import ModelConfig
from pippin.plan.layout import Flags, Integers


@dataclass(frozen=True)
class Shapes:
    """N models (or one, which broadcasts over N layouts). Counts, and widths in elements.

    A dense model has `num_experts` 1, `top_k` 1 and no `moe_layers`. Without latent attention `kv_rank` is 0.
    `window` is what a local layer sees in tokens (0: everything), and `global_every` how often a layer sees
    the whole sequence. The first `first_dense` layers of a model with experts have none.
    """

    layers: Integers
    d_model: Integers
    heads: Integers
    kv_heads: Integers
    head_dim: Integers  # of queries and keys
    value_dim: Integers
    kv_reuse_layers: Integers
    q_rank: Integers
    kv_rank: Integers
    rope_dim: Integers  # of the shared rotary key, latent attention only
    window: Integers
    global_every: Integers
    ffn_dim: Integers
    ffn_matrices: Integers  # 3 with a gate, else 2
    vocab_size: Integers
    tied: Flags
    positions: Integers
    moe_layers: Integers
    first_dense: Integers
    num_experts: Integers
    top_k: Integers
    expert_ffn_dim: Integers
    shared_ffn_dim: Integers

    @classmethod
    def of(cls, configs: ModelConfig | Sequence[ModelConfig]) -> Self:
        """Gathers configurations; a single one gives arrays of length 1."""
        every = [configs] if isinstance(configs, ModelConfig) else list(configs)
        rows = [_row(config) for config in every]
        return cls(**{f.name: np.array([row[f.name] for row in rows]) for f in fields(cls)})

    def take(self, indices: Any) -> Self:
        """The models at these places, in this order."""
        return replace(self, **{f.name: getattr(self, f.name)[indices] for f in fields(self)})


def _row(c: ModelConfig) -> dict[str, int | bool]:
    moe, mla = c.moe, c.mla
    return {
        "layers": c.num_layers,
        "d_model": c.d_model,
        "heads": c.num_heads,
        "kv_heads": c.num_kv_heads,
        "head_dim": mla.qk_nope_head_dim + mla.qk_rope_head_dim if mla else c.head_dim,
        "value_dim": mla.v_head_dim if mla else c.head_dim,
        "kv_reuse_layers": c.kv_reuse_layers,
        "q_rank": mla.q_lora_rank if mla else 0,
        "kv_rank": mla.kv_lora_rank if mla else 0,
        "rope_dim": mla.qk_rope_head_dim if mla else 0,
        "window": c.sliding_window or 0,
        "global_every": c.global_layer_every,
        "ffn_dim": c.ffn_dim,
        "ffn_matrices": 3 if c.gated_ffn else 2,
        "vocab_size": c.vocab_size,
        "tied": c.tie_embeddings,
        "positions": c.learned_positions,
        "moe_layers": c.num_moe_layers,
        "first_dense": moe.first_dense_layers if moe else 0,
        "num_experts": moe.num_experts if moe else 1,
        "top_k": moe.top_k if moe else 1,
        "expert_ffn_dim": moe.ffn_dim if moe else 0,
        "shared_ffn_dim": moe.shared_ffn_dim if moe else 0,
    }
