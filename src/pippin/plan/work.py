"""What one layer of a model holds and does, from `Shapes`: weights, activations' widths, attention's pairs.

Counts of elements, averaged over the layers of a kind. Nothing here depends on the layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.plan.counts import Parameters
from pippin.plan.layout import Floats
from pippin.plan.shape import Shapes


@dataclass(frozen=True)
class LayerCounts:
    """Per layer. `whole` widths are not cut by tensor parallelism, `cut` widths are.

    A product of weights `k x n` reads `k` and writes `n` elements a token.
    """

    attention_weights: Floats
    attention_whole: Floats
    attention_cut: Floats
    dense_weights: Floats
    dense_whole: Floats
    dense_cut: Floats
    dense_hidden: Floats  # elements a token that the activation function reads and writes
    expert_weights: Floats  # of one expert
    expert_hidden: Floats
    shared_weights: Floats
    shared_cut: Floats
    shared_hidden: Floats
    router_weights: Floats
    kv_width: Floats  # of keys and values together
    score_width: Floats  # head dimensions of queries and values, over all heads


def layer_counts(s: Shapes) -> LayerCounts:
    """The counts of one attention part, one dense feed-forward part and one with experts."""
    d = s.d_model.astype(np.float64)
    q_width = (s.heads * s.head_dim).astype(np.float64)
    out_width = (s.heads * s.value_dim).astype(np.float64)
    latent = s.kv_rank > 0
    makes_kv = 1.0 - s.kv_reuse_layers / s.layers
    kv_width = np.where(
        latent, s.kv_rank + s.rope_dim, s.kv_heads * (s.head_dim + s.value_dim) * makes_kv
    ).astype(np.float64)
    expanded = s.heads * (s.head_dim - s.rope_dim + s.value_dim)
    q_weights = np.where(s.q_rank > 0, s.q_rank * (d + q_width), d * q_width)
    kv_weights = d * kv_width + np.where(latent, s.kv_rank * expanded, 0)
    gates = s.ffn_matrices - 1
    return LayerCounts(
        attention_weights=q_weights + kv_weights + d * out_width,
        attention_whole=3.0 * d + np.where(latent, 2.0 * (s.q_rank + kv_width), 0.0),
        attention_cut=q_width + np.where(latent, expanded, kv_width) + out_width,
        dense_weights=(s.ffn_matrices * d * s.ffn_dim).astype(np.float64),
        dense_whole=2.0 * d,
        dense_cut=(s.ffn_matrices * s.ffn_dim).astype(np.float64),
        dense_hidden=(s.ffn_matrices * s.ffn_dim).astype(np.float64),
        expert_weights=(s.ffn_matrices * d * s.expert_ffn_dim).astype(np.float64),
        expert_hidden=(s.ffn_matrices * s.expert_ffn_dim).astype(np.float64),
        shared_weights=(s.ffn_matrices * d * s.shared_ffn_dim).astype(np.float64),
        shared_cut=((gates + 1) * s.shared_ffn_dim).astype(np.float64),
        shared_hidden=(s.ffn_matrices * s.shared_ffn_dim).astype(np.float64),
        router_weights=d * np.where(s.moe_layers > 0, s.num_experts, 0),
        kv_width=kv_width,
        score_width=q_width + out_width,
    )


def attention_pairs(s: Shapes, sequence_length: Any, flash: Any) -> Floats:
    """Pairs of query and key that a sequence's attention computes, averaged over the layers.

    A kernel that makes the S x S array computes all S^2 of it; one that does not skips what the causal mask
    and the window hide, and of a layer with a window it sees `window` keys a query.
    """
    length = np.asarray(sequence_length, np.float64)
    causal = 0.5 * length * (length + 1.0)
    window = np.where(s.window > 0, np.minimum(s.window, length), length)
    local = window * length - 0.5 * window * (window - 1.0)
    # `global_every` 1 beside a window: no layer sees everything, as in `counts`.
    everywhere = np.where(s.global_every > 1, (s.layers // s.global_every) / s.layers, 0.0)
    seen = np.where(s.window > 0, everywhere * causal + (1.0 - everywhere) * local, causal)
    return np.where(flash, seen, length * length)


def forward_flops(s: Shapes, sequence_length: Any, *, causal: bool = True) -> Floats:
    """FLOPs of one forward pass over one sequence, by the definition of `pippin.models.counts`."""
    n = layer_counts(s)
    length = np.asarray(sequence_length, np.float64)
    dense = s.layers - s.moe_layers
    weights = (
        s.layers * n.attention_weights
        + dense * n.dense_weights
        + s.moe_layers * (s.top_k * n.expert_weights + n.shared_weights + n.router_weights)
        + s.vocab_size * s.d_model
    )
    pairs = attention_pairs(s, length, True) if causal else length * length
    return 2.0 * (length * weights + s.layers * pairs * n.score_width)


def parameter_counts(s: Shapes) -> tuple[Floats, Floats, Floats]:
    """Parameters of all layers without experts, of all experts, and of embedding, positions and head."""
    parts = Parameters.of(s)
    own_keys, moe_layers = s.layers - s.kv_reuse_layers, s.moe_layers
    layers = s.layers * (parts.attention + parts.norms) + own_keys * parts.key_value
    layers = layers + (s.layers - moe_layers) * parts.dense_ffn
    layers = layers + moe_layers * (parts.shared_expert + parts.router)
    experts = moe_layers * s.num_experts * parts.expert
    tables = parts.embedding + parts.positions + parts.head
    return layers.astype(np.float64), experts.astype(np.float64), tables.astype(np.float64)
