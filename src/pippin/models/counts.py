"""Exact counts of parameters and floating-point operations.

The FLOP definition, used for every efficiency figure: 2 per multiply-add of matrix products and
attention; attention causal over the whole sequence, whatever the document mask (a query at place i
meets i + 1 keys); the language-model head counted, the embedding look-up not; backward = 2 x forward;
no recomputation; elementwise work not counted. Of the routed experts a token's own `top_k` count, whatever a
capacity drops or leaves empty; the router is a product.
"""

from __future__ import annotations

from fractions import Fraction

from pippin.models.config import ModelConfig
from pippin.models.parameters import flat_specs, refuse_planned

FLOP_DEFINITION = (
    "2 FLOPs per multiply-add of matrix products and attention; causal attention over the whole sequence "
    "whatever the document mask; LM head counted, embedding lookup not; backward = 2 x forward; "
    "no recomputation, no elementwise work"
)


def num_parameters(config: ModelConfig) -> int:
    """All parameters; a tied embedding counts once.

    Raises:
        PippinError: only the planner knows this shape.
    """
    return sum(spec.size for spec in flat_specs(config).values())


def num_active_parameters(config: ModelConfig) -> int:
    """Parameters that one token meets: of the routed experts the `top_k` it is sent to.

    Raises:
        PippinError: only the planner knows this shape.
    """
    if config.moe is None:
        return num_parameters(config)
    share = Fraction(config.moe.top_k, config.moe.num_experts)
    return sum(
        int(spec.size * share) if "expert" in spec.axes else spec.size for spec in flat_specs(config).values()
    )


def num_embedding_parameters(config: ModelConfig) -> int:
    """Parameters of the embedding table alone."""
    return config.vocab_size * config.d_model


def forward_flops(config: ModelConfig, sequence_length: int, *, causal: bool = True) -> int:
    """FLOPs of one forward pass over one sequence.

    Args:
        config: the model.
        sequence_length: S, in tokens.
        causal: False counts attention in full (S x S), as a compiler sees the naive form.

    Raises:
        PippinError: only the planner knows this shape (`pippin.plan.counts`).
    """
    c, s = config, sequence_length
    refuse_planned(c)
    query_and_output = 2 * c.d_model * c.num_heads * c.head_dim
    key_and_value = 2 * c.d_model * c.num_kv_heads * c.head_dim
    feed_forward = 3 * c.d_model * c.ffn_dim
    if c.moe:
        feed_forward = c.moe.top_k * 3 * c.d_model * c.moe.ffn_dim + c.d_model * c.moe.num_experts
    pairs = s * (s + 1) // 2 if causal else s * s
    attention = 2 * pairs * c.num_heads * c.head_dim  # scores, and the weighted sum of values
    layer = s * (query_and_output + feed_forward) + attention
    own = s * key_and_value
    head = s * c.d_model * c.vocab_size
    return 2 * (c.num_layers * layer + (c.num_layers - c.kv_reuse_layers) * own + head)


def training_flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """FLOPs of forward and backward, a token, averaged over a sequence of `sequence_length` tokens."""
    return 3 * forward_flops(config, sequence_length) / sequence_length
