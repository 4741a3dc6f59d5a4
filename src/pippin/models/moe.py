"""A mixture of experts: the router, the experts' products, and the losses that keep the router even.

Shapes: B batch, S sequence, E model width, k choices a token, X experts, F width of an expert, T tokens,
M slots, J blocks, C rows of a block or of an expert's capacity, L layers with experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from pippin.models import scopes
from pippin.models.config import MoEConfig
from pippin.models.contraction import contract
from pippin.models.slots import block_size, block_slots, capacity_slots, combine, dispatch

Parameters = dict[str, Any]


class RouterReport(NamedTuple):
    """Sums over tokens of one layer (a dimension for the layers in front when stacked), all float32.

    Sums and not means, so that parts of the global batch (micro-batches, shards) add up to what the whole
    would have given. Probabilities and log-partitions pass gradients on, the counts do not.
    """

    assignments: Array  # (X,): choices that went to each expert, the dropped ones included
    probabilities: Array  # (X,)
    squared_log_partition: Array
    dropped: Array  # choices beyond an expert's capacity
    tokens: Array


class Routing(NamedTuple):
    """Experts of each token, best first, and the weights of their results."""

    experts: Array  # (B, k, S) int32
    weights: Array  # (B, k, S) float32


# Tokens (B, S, E), their routing and the layer's weights in; the weighted sum (B, S, E) and the number of
# dropped choices out. This is what expert parallelism replaces.
Exchange = Callable[[Array, Routing, Parameters, MoEConfig], tuple[Array, Array]]


def route(h_BSE: Array, router_EX: Array, moe: MoEConfig) -> tuple[Routing, RouterReport]:
    """Softmax over all experts in float32, then the `top_k` likeliest, renormalised if the model does that.

    The report lacks what the exchange dropped.
    """
    scores_BSX = jnp.einsum(
        "bse,ex->bsx", h_BSE.astype(jnp.float32), router_EX, precision=lax.Precision.HIGHEST
    )
    log_partition_BS = jax.nn.logsumexp(scores_BSX, axis=-1)
    probabilities_BSX = jnp.exp(scores_BSX - log_partition_BS[..., None])
    experts_BkS = top_experts(probabilities_BSX, moe.top_k)
    chosen_BkSX = _one_hot(experts_BkS, router_EX.shape[-1])
    weights_BkS = jnp.sum(probabilities_BSX[:, None] * chosen_BkSX, axis=-1)
    if moe.normalize_top_k:
        weights_BkS = weights_BkS / jnp.sum(weights_BkS, axis=1, keepdims=True)
    report = RouterReport(
        assignments=lax.stop_gradient(jnp.sum(chosen_BkSX, axis=(0, 1, 2))),
        probabilities=jnp.sum(probabilities_BSX, axis=(0, 1)),
        squared_log_partition=jnp.sum(log_partition_BS**2),
        dropped=jnp.zeros((), jnp.float32),
        tokens=jnp.full((), log_partition_BS.size, jnp.float32),
    )
    return Routing(experts_BkS, weights_BkS), report


def top_experts(scores_BSX: Array, top_k: int) -> Array:
    """Indices (B, k, S) int32 of the largest scores, best first, the lower index first among equals.

    By `top_k` plain maxima: a sort of pairs or an argmax needs a reduction with two operands, which not
    every target has.
    """
    index_X = jnp.arange(scores_BSX.shape[-1], dtype=jnp.int32)
    left, found = lax.stop_gradient(scores_BSX), []
    for _ in range(top_k):
        is_best = left == jnp.max(left, axis=-1, keepdims=True)
        # Without the bound a NaN, which equals nothing, would point past the last expert.
        best_BS = jnp.min(jnp.where(is_best, index_X, index_X[-1]), axis=-1)
        left = jnp.where(index_X == best_BS[..., None], -jnp.inf, left)
        found.append(best_BS)
    return jnp.stack(found, axis=1)


def mixture_of_experts(
    h_BSE: Array, layer: Parameters, moe: MoEConfig, *, exchange: Exchange | None = None
) -> tuple[Array, RouterReport]:
    """Routes normed tokens through their experts.

    Args:
        h_BSE: the stream as it was entered, in the compute type.
        layer: `router` (E, X), `expert_gate` and `expert_up` (X, E, F), `expert_down` (X, F, E), float32.
        moe: the configuration.
        exchange: what brings tokens to experts and back; None: all experts are at hand.

    Returns:
        (B, S, E) in the compute type, partial sums where the experts' width is split; and the report.
    """
    routing, report = route(h_BSE, layer["router"], moe)
    out_BSE, dropped = (exchange or local_exchange)(h_BSE, routing, layer, moe)
    return out_BSE, report._replace(dropped=lax.stop_gradient(dropped))


def local_exchange(h_BSE: Array, routing: Routing, layer: Parameters, moe: MoEConfig) -> tuple[Array, Array]:
    """Every expert at hand: by capacity of each sequence, or without dropping in blocks."""
    num_experts = layer["router"].shape[-1]
    x_TE = h_BSE.reshape(-1, h_BSE.shape[-1])
    if moe.capacity_factor is None:
        size = block_size(routing.experts.size, num_experts)
        slots, expert_J = block_slots(routing.experts, num_experts, size)
        x_JCE = dispatch(x_TE, slots).reshape(-1, size, x_TE.shape[-1])
        y = expert_blocks(x_JCE, expert_J, layer)
    else:
        capacity = expert_capacity(moe, h_BSE.shape[1], num_experts)
        slots = capacity_slots(routing.experts, num_experts, capacity)
        y = expert_rows(dispatch(x_TE, slots).reshape(num_experts, -1, x_TE.shape[-1]), layer)
    out_TE = combine(y.reshape(-1, x_TE.shape[-1]), routing.weights, slots)
    return out_TE.reshape(h_BSE.shape), jnp.sum(~slots.kept, dtype=jnp.float32)


def expert_capacity(moe: MoEConfig, length: int, num_experts: int) -> int:
    """Choices that an expert takes of one sequence: its fair share times the factor, at most every token."""
    assert moe.capacity_factor is not None
    return min(length, math.ceil(moe.capacity_factor * moe.top_k * length / num_experts))


@jax.named_scope(scopes.EXPERT_PRODUCT)
def expert_rows(x_XCE: Array, layer: Parameters) -> Array:
    """SwiGLU of each expert on rows of its own, (X, C, E)."""
    dtype = x_XCE.dtype
    gate, up, down = _weights(layer, dtype)
    inner = jax.nn.silu(contract("xce,xef->xcf", x_XCE, gate)) * contract("xce,xef->xcf", x_XCE, up)
    return contract("xcf,xfe->xce", inner.astype(dtype), down).astype(dtype)


@jax.named_scope(scopes.EXPERT_PRODUCT)
def expert_blocks(x_JCE: Array, expert_J: Array, layer: Parameters) -> Array:
    """SwiGLU of blocks of rows, each block by one expert; `expert_J` ascends. (J, C, E)."""
    dtype = x_JCE.dtype
    gate, up, down = _weights(layer, dtype)
    inner = jax.nn.silu(grouped(x_JCE, gate, expert_J)) * grouped(x_JCE, up, expert_J)
    out_JCE: Array = grouped(inner.astype(dtype), down, expert_J)
    return out_JCE.astype(dtype)


def _weights(layer: Parameters, dtype: Any) -> tuple[Array, Array, Array]:
    gate, up, down = (layer[f"expert_{name}"].astype(dtype) for name in ("gate", "up", "down"))
    return gate, up, down


@jax.custom_vjp
def grouped(a_JCE: Array, w_XEF: Array, expert_J: Array) -> Array:
    """The product of each block of rows with its expert's matrix, (J, C, F) float32.

    A loop over blocks, because plain differentiation would add a gradient as large as all experts to
    another one for each block; here a block touches its own expert's alone.
    """

    def product(block: tuple[Array, Array]) -> Array:
        rows_CE, expert = block
        return jnp.matmul(rows_CE, w_XEF[expert], preferred_element_type=jnp.float32)

    product_JCF: Array = lax.map(product, (a_JCE, expert_J))
    return product_JCF


def _grouped_forward(a_JCE: Array, w_XEF: Array, expert_J: Array) -> tuple[Array, Any]:
    return grouped(a_JCE, w_XEF, expert_J), (a_JCE, w_XEF, expert_J)


def _grouped_backward(kept: Any, gradient_JCF: Array) -> tuple[Array, Array, None]:
    a_JCE, w_XEF, expert_J = kept
    gradient_JCF = gradient_JCF.astype(a_JCE.dtype)

    def body(by_w_XEF: Array, block: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        rows_CE, gradient_CF, expert = block
        by_rows_CE = jnp.einsum("cf,ef->ce", gradient_CF, w_XEF[expert], preferred_element_type=jnp.float32)
        by_w_EF = jnp.einsum("ce,cf->ef", rows_CE, gradient_CF, preferred_element_type=jnp.float32)
        return by_w_XEF.at[expert].add(by_w_EF), by_rows_CE.astype(rows_CE.dtype)

    zero_XEF = jnp.zeros_like(w_XEF, jnp.float32)
    by_w_XEF, by_a_JCE = lax.scan(body, zero_XEF, (a_JCE, gradient_JCF, expert_J))
    return by_a_JCE, by_w_XEF.astype(w_XEF.dtype), None


grouped.defvjp(_grouped_forward, _grouped_backward)


def _one_hot(index: Array, size: int) -> Array:
    return (index[..., None] == jnp.arange(size, dtype=jnp.int32)).astype(jnp.float32)
