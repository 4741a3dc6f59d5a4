"""Parameters and FLOPs of every shape that the planner plans.

`models/counts.py` counts what the trainer trains from its arrays; here are latent attention, experts beside
dense layers, feed-forward parts without a gate and tables of positions too. For a shape that both know the
two agree. Biases are not counted: GPT-3's are 0.01 % of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pippin.models.config import ModelConfig
from pippin.plan.layout import Integers
from pippin.plan.shape import Shapes


@dataclass(frozen=True)
class Parameters:
    """Parameters of the parts of N models, in elements; norms of queries and keys are left out.

    `attention` is one layer's without `key_value`, which only layers with keys of their own have.
    """

    attention: Integers
    key_value: Integers
    dense_ffn: Integers
    expert: Integers  # one routed expert
    shared_expert: Integers
    router: Integers
    norms: Integers  # of one layer
    embedding: Integers
    positions: Integers
    head: Integers  # 0 where it is the embedding

    @classmethod
    def of(cls, s: Shapes) -> Parameters:
        latent = s.kv_rank > 0
        query_out = s.heads * s.head_dim
        query = (s.q_rank == 0) * s.d_model * query_out + s.q_rank * (s.d_model + query_out + 1)
        nope = s.head_dim - s.rope_dim
        latent_kv = s.d_model * (s.kv_rank + s.rope_dim) + s.kv_rank * (1 + s.heads * (nope + s.value_dim))
        plain_kv = s.d_model * s.kv_heads * (s.head_dim + s.value_dim)
        moe = s.moe_layers > 0
        return cls(
            attention=query + s.heads * s.value_dim * s.d_model,
            key_value=latent * latent_kv + ~latent * plain_kv,
            dense_ffn=s.ffn_matrices * s.d_model * s.ffn_dim,
            expert=s.ffn_matrices * s.d_model * s.expert_ffn_dim,
            shared_expert=s.ffn_matrices * s.d_model * s.shared_ffn_dim,
            router=moe * s.d_model * s.num_experts,
            norms=2 * s.d_model,
            embedding=s.vocab_size * s.d_model,
            positions=s.positions * s.d_model,
            head=~s.tied * s.vocab_size * s.d_model,
        )


def num_parameters(config: ModelConfig) -> int:
    """All parameters; a tied embedding counts once."""
    return _sum(config, config.moe.num_experts if config.moe else 0)


def active_parameters(config: ModelConfig) -> int:
    """Parameters that one token meets: of the routed experts the `top_k` it is sent to."""
    return _sum(config, config.moe.top_k if config.moe else 0)


def _sum(config: ModelConfig, experts: int) -> int:
    shapes = Shapes.of(config)
    parts = Parameters.of(shapes)
    layers, own_keys = config.num_layers, config.num_layers - config.kv_reuse_layers
    moe_layers = config.num_moe_layers
    total = layers * (parts.attention + parts.norms) + own_keys * parts.key_value
    total = total + (layers - moe_layers) * parts.dense_ffn
    total = total + moe_layers * (experts * parts.expert + parts.shared_expert + parts.router)
    total = total + parts.embedding + parts.positions + parts.head + config.d_model
    return int(total[0]) + (config.qk_norm * config.head_dim * (layers + own_keys))


def training_flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """FLOPs of forward and backward a token, by the definition of `models/counts.py`.

    Latent attention is counted in the form that training computes: every head's keys and values in full.
    A layer with a sliding window is counted with the keys it sees. The router is counted as a product.
    """
    s, length = Shapes.of(config), sequence_length
    parts = Parameters.of(s)
    vectors = config.mla.kv_lora_rank + config.mla.q_lora_rank if config.mla else 0  # norms, not products
    layers, moe_layers = config.num_layers, config.num_moe_layers
    products = layers * (parts.attention - vectors) + (layers - config.kv_reuse_layers) * parts.key_value
    products = products + (layers - moe_layers) * parts.dense_ffn
    experts = (config.moe.top_k if config.moe else 0) * parts.expert + parts.shared_expert + parts.router
    products = products + moe_layers * experts + config.vocab_size * config.d_model
    keys = _keys_seen(config, length)
    attention = keys * config.num_heads * (s.head_dim + s.value_dim)
    return float(3 * 2 * (products + attention)[0])


def _keys_seen(config: ModelConfig, length: int) -> float:
    """Keys that a query meets, averaged over a sequence and summed over the layers."""
    whole = (length + 1) / 2
    window = config.sliding_window
    if not window or window >= length:
        return config.num_layers * whole
    wide = config.num_layers // config.global_layer_every if config.global_layer_every > 1 else 0
    local = (window * (window + 1) / 2 + (length - window) * window) / length
    return wide * whole + (config.num_layers - wide) * local
