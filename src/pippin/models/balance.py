"""Losses that keep the experts' load even, as sums over parts of a batch, and the figures that show it.

The load-balancing loss of a layer is X sum_e f_e P_e: f_e the share of choices that went to expert e, P_e the
mean router probability of e (Switch Transformer, arXiv 2101.03961, equations 4 to 6). It is 1 when both are
even. Only P passes a gradient on; f weighs it. A product of two means over the global batch cannot be added
up from micro-batches, shards or pipeline stages: with f of a part, another loss would be minimised for every
layout and every accumulation, and f of the whole is not known before the first micro-batch goes backward. So
f is the load of the *previous* step over the whole global batch, carried in the train state and even at the
start. Then the loss is linear in the tokens, and layouts agree.

What differs from Switch and Mixtral: f lags by one step; f and P are of the global batch and not of a
device's part; f counts all `top_k` choices and sums to 1 (transformers' Mixtral lets it sum to `top_k`, so
its value is `top_k` times ours); layers are added up as in Switch, not pooled as transformers does.

The router z-loss is the mean over tokens of the squared log-partition of the router's scores (ST-MoE, arXiv
2202.08906, equation 5). Shapes: L layers with experts, X experts.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.moe import RouterReport


def even_load(config: ModelConfig) -> Array:
    """The load before the first step, (L, X) float32."""
    assert config.moe is not None
    experts = config.moe.num_experts
    return jnp.full((config.num_moe_layers, experts), 1 / experts, jnp.float32)


def next_load(report: RouterReport) -> Array:
    """Share of each layer's choices that went to each expert, (L, X), from the global batch's report."""
    assignments_LX = report.assignments
    return assignments_LX / jnp.sum(assignments_LX, axis=-1, keepdims=True)


def load_balance_loss(report: RouterReport, load_LX: Array, num_tokens: Array | float) -> Array:
    """Of each layer, (L,). Parts of a batch add up, each with the `num_tokens` of the whole batch."""
    weighted = lax.stop_gradient(load_LX) * report.probabilities
    return load_LX.shape[-1] * jnp.sum(weighted, axis=-1) / num_tokens


def router_z_loss(report: RouterReport, num_tokens: Array | float) -> Array:
    """Of each layer, (L,). Parts of a batch add up."""
    return report.squared_log_partition / num_tokens


def router_objective(
    report: RouterReport, load_LX: Array, moe: MoEConfig, num_tokens: Array | float
) -> Array:
    """What the router adds to the objective: both losses by their weights, summed over layers; a scalar.

    Args:
        report: of a part of the global batch or of all of it, layers in front.
        load_LX: of the previous step, over the global batch.
        moe: the weights.
        num_tokens: tokens of the whole global batch.
    """
    balance = moe.load_balance_weight * load_balance_loss(report, load_LX, num_tokens)
    return jnp.sum(balance + moe.router_z_weight * router_z_loss(report, num_tokens))


def router_metrics(report: RouterReport, load_LX: Array) -> dict[str, Array]:
    """What `metrics.jsonl` shows of the routers, from the global batch's report.

    `expert_load` (L,): the busiest expert's choices over the mean, 1 when even. `dropped_tokens_share`: of
    all choices of all layers. The losses are means over layers, without their weights.
    """
    tokens_L, choices_L = report.tokens, jnp.sum(report.assignments, axis=-1)
    return {
        "expert_load": jnp.max(report.assignments, axis=-1) / jnp.mean(report.assignments, axis=-1),
        "dropped_tokens_share": jnp.sum(report.dropped) / jnp.sum(choices_L),
        "load_balance_loss": jnp.mean(load_balance_loss(report, load_LX, tokens_L)),
        "router_z_loss": jnp.mean(router_z_loss(report, tokens_L)),
    }
