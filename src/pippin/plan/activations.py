"""What one layer keeps for its backward pass, in bytes for one micro-batch.

Every array is counted once, where it is made: the inputs of norms and products, queries, keys and values,
the output of attention, both sides of the activation function (arXiv 2205.05198, section 4.1, which adds up
to 34 s b h bytes for GPT with dropout; a test holds that).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pippin.plan.framework import Framework
from pippin.plan.layout import Floats, Layouts
from pippin.plan.shape import Shapes


@dataclass(frozen=True)
class LayerActivations:
    """Bytes on a rank, for one micro-batch. `kept_*` with what the layout recomputes left out."""

    entry: Floats  # the layer's input alone: what full recomputation keeps
    kept_dense: Floats
    kept_moe: Floats
    full_dense: Floats  # nothing recomputed
    full_moe: Floats
    attention_core: Floats  # what recomputing attention saves
    exchange: Floats  # buffers of the exchanges in a layer

    @classmethod
    def of(cls, s: Shapes, lay: Layouts, f: Framework) -> LayerActivations:
        tokens = lay.micro_batch * lay.sequence_length / lay.context
        share = np.where(
            lay.sequence_parallel, lay.tensor, 1
        )  # ranks among which the norms' arrays are split
        dropout = s.ffn_matrices == 2
        stream = tokens * s.d_model / share
        norms = stream * ((2 + f.extra_stream) * f.activation + 2 * f.linear_input + 2 * dropout)
        attention = tokens / lay.tensor * _attention_elements(s, lay, f)
        core = _core(s, lay, f, tokens)
        dense = tokens / lay.tensor * s.ffn_dim * _hidden(s, f)
        moe = _experts(s, lay, f, tokens, share)
        full_dense, full_moe = norms + attention + core + dense, norms + attention + core + moe
        saved = np.where(lay.recompute_attention, core, 0.0)
        return cls(
            entry=np.asarray(stream * f.activation, np.float64),
            kept_dense=full_dense - saved,
            kept_moe=full_moe - saved,
            full_dense=full_dense,
            full_moe=full_moe,
            attention_core=core,
            exchange=_exchange(s, lay, f, tokens),
        )


def _hidden(s: Shapes, f: Framework) -> Floats:
    """Bytes of a token's hidden element: both sides of the activation function."""
    return np.asarray((s.ffn_matrices - 1 + f.extra_hidden) * f.activation + f.linear_input, np.float64)


def _attention_elements(s: Shapes, lay: Layouts, f: Framework) -> Floats:
    """Bytes a token of queries, keys, values and output; times `tensor` where each rank has its own."""
    heads_out = s.heads * s.value_dim * f.linear_input
    queries = s.heads * s.head_dim * f.activation
    # With more ranks than key-value heads each rank still has a whole head.
    kv_heads = np.maximum(s.kv_heads, lay.tensor)
    plain = kv_heads * (s.head_dim + s.value_dim) * f.activation
    own = (s.layers - s.kv_reuse_layers) / s.layers
    # Latent attention: the compressed vectors before and after their norms on every rank, and each head's
    # keys and values beside the product they are cut from.
    nope = s.head_dim - s.rope_dim
    compressed = (2 * (s.q_rank + s.kv_rank) + s.rope_dim) * lay.tensor
    latent = (compressed + s.heads * (s.head_dim + s.value_dim + nope + s.value_dim)) * f.activation
    return heads_out + queries + np.where(s.kv_rank > 0, latent, own * plain)


def _core(s: Shapes, lay: Layouts, f: Framework, tokens: Floats) -> Floats:
    """The S x S arrays, or where none is kept a float32 number a query and head."""
    none_kept = lay.flash | (f.scores == 0)
    return tokens / lay.tensor * s.heads * np.where(none_kept, 4.0, f.scores * lay.sequence_length)


def _experts(s: Shapes, lay: Layouts, f: Framework, tokens: Floats, share: Floats) -> Floats:
    """Router, the copies of tokens sent to experts and back, both sides of the activation function.

    Loads are taken as even. Tokens are split over the tensor ranks, as the expert ranks are taken from them.
    """
    copies = tokens / lay.tensor * s.top_k
    routed = copies * (s.d_model * (f.linear_input + f.activation) + s.expert_ffn_dim * _hidden(s, f))
    router = tokens / share * s.num_experts * 8.0  # float32 scores and probabilities
    shared = tokens / lay.tensor * s.shared_ffn_dim * _hidden(s, f)
    return routed + router + shared


def _exchange(s: Shapes, lay: Layouts, f: Framework, tokens: Floats) -> Floats:
    """Whole sequences gathered for the tensor ranks; keys and values of the next context rank; copies of
    tokens on their way to experts."""
    stream = tokens * s.d_model * f.activation
    tensor = np.where((lay.tensor > 1) & lay.sequence_parallel, 2 * stream, 0.0)
    keys = tokens * s.kv_heads * (s.head_dim + s.value_dim) * f.activation / lay.tensor
    context = np.where(lay.context > 1, 2 * keys, 0.0)
    experts = np.where((lay.expert > 1) & (s.moe_layers > 0), 2 * stream * s.top_k / lay.tensor, 0.0)
    return tensor + context + experts
