"""The parts of a job's step as programs of their own: the functions that the step calls, at its shapes.

Each runs forward and backward and is compiled alone, on the first local device. Shapes as in
`assay.job_products`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pippin.assay.interleaved import Runs, compile_ahead
from pippin.assay.job_products import JobProduct, attention_flops, job_products
from pippin.models import decoder
from pippin.models.attention import Attention
from pippin.models.config import ModelConfig, MoEConfig
from pippin.models.contraction import contract
from pippin.models.functions import look_up
from pippin.models.loss import mean_loss
from pippin.models.moe import expert_rows, mixture_of_experts


@dataclass(frozen=True)
class Workpiece:
    """What one device does in one micro-batch."""

    config: ModelConfig
    batch_size: int
    sequence_length: int
    compute_dtype: Any
    attention: Attention
    z_loss: float = 0.0

    @property
    def tokens(self) -> int:
        return self.batch_size * self.sequence_length


@dataclass(frozen=True)
class Component:
    """A part of the step.

    Args:
        name: what it is.
        calls: how often a micro-batch does this.
        flops: of one call. Of products and attention as the report defines them, causal and without what is
            computed again; of elementwise work an operation for each element and operator written.
        bytes: arrays in and out of one call, each read or written once.
    """

    name: str
    calls: int
    flops: int
    bytes: int


# A component and its compiled program.
Ready = tuple[Component, Runs]


def components(piece: Workpiece) -> list[Ready]:
    """The products, attention, and everything that is bound by memory."""
    c, layers = piece.config, piece.config.num_layers
    stream = (piece.batch_size, piece.sequence_length, c.d_model)
    elements = piece.tokens * c.d_model
    found = [_product(piece, product) for product in job_products(c, *stream[:2])]
    found += _attention(piece)
    # Forward: square, mean, scale twice. Backward computes them again and has about ten more.
    norm = ([_array(piece, stream), _wide((c.d_model,))], [_array(piece, stream)])
    found.append(_component("norm", 2 * layers + 1, 14 * elements, piece, _norm(c), *norm))
    if c.moe is None:
        inner = piece.tokens * c.ffn_dim
        wide = (piece.batch_size, piece.sequence_length, c.ffn_dim)
        half = ([_wide(wide), _wide(wide), _array(piece, (c.ffn_dim, c.d_model))], [_array(piece, stream)])
        flops = 6 * inner * c.d_model + 20 * inner
        found.append(_component("gate and down", layers, flops, piece, decoder.gated, *half))
    else:
        found += experts(piece, c.moe)
    found += [
        _rotary(piece, "queries", c.num_heads, layers),
        _rotary(piece, "keys", c.num_kv_heads, layers - c.kv_reuse_layers),
    ]
    pair = [_array(piece, stream), _array(piece, stream)]
    found.append(_forward_only("residual sum", 4 * layers, elements, piece, jnp.add, pair))
    return [*found, _embedding(piece), _vocabulary(piece)]


def experts(piece: Workpiece, moe: MoEConfig) -> list[Ready]:
    """The whole mixture, with router and dispatch, of experts that are all at hand; and their products alone,
    each expert with the same number of tokens: what one is slower by is the routing."""
    c, width = piece.config, (piece.config.d_model, moe.ffn_dim)
    names = ("router", "expert_gate", "expert_up", "expert_down")
    shapes = [(moe.num_experts, *width)] * 2 + [(moe.num_experts, *reversed(width))]
    weights = [_wide((c.d_model, moe.num_experts)), *map(_wide, shapes)]
    stream = _array(piece, (piece.batch_size, piece.sequence_length, c.d_model))
    rows = -(-piece.tokens * moe.top_k // moe.num_experts)
    even = _array(piece, (moe.num_experts, rows, c.d_model))

    def mixture(h_BSE: Array, *weights: Array) -> Array:
        return mixture_of_experts(h_BSE, dict(zip(names, weights, strict=True)), moe)[0]

    def products(x_XCE: Array, *weights: Array) -> Array:
        return expert_rows(x_XCE, dict(zip(names[1:], weights, strict=True)))

    each = 6 * 3 * c.d_model * moe.ffn_dim  # FLOPs of a token in an expert, forward and backward
    routed = piece.tokens * (moe.top_k * each + 6 * c.d_model * moe.num_experts)
    found = _component(
        "experts with routing", c.num_layers, routed, piece, mixture, [stream, *weights], [stream]
    )
    alone = moe.num_experts * rows * each
    return [found, _component("experts alone", 0, alone, piece, products, [even, *weights[1:]], [even])]


def _norm(config: ModelConfig) -> Callable[..., Array]:
    return lambda x, scale: decoder.rms_norm(x, scale, config.norm_epsilon)


def _rotary(piece: Workpiece, which: str, heads: int, calls: int) -> Ready:
    c = piece.config

    def turn(x_BSHD: Array) -> Array:
        places = jnp.arange(piece.sequence_length, dtype=jnp.int32)
        return decoder.rotate(x_BSHD, decoder.rotary_angles(places, c.head_dim, c.rope_theta, c.rope_scaling))

    array = [_array(piece, (piece.batch_size, piece.sequence_length, heads, c.head_dim))]
    flops = 12 * piece.tokens * heads * c.head_dim
    return _component(f"rotary embedding, {which}", calls, flops, piece, turn, array, array)


def _product(piece: Workpiece, product: JobProduct) -> Ready:
    """With the conversions around it: parameters are float32, activations of the compute type."""
    dtype = piece.compute_dtype
    out = jnp.float32 if product.keeps_float32 else dtype

    def multiply(x: Array, weights: Array) -> Array:
        return contract(product.equation, x, weights.astype(dtype)).astype(out)

    return _component(
        f"product {product.name}",
        product.calls,
        3 * product.flops,
        piece,
        multiply,
        [_array(piece, product.activations), _wide(product.weights)],
        [_random(product.result, out)],
    )


def _attention(piece: Workpiece) -> list[Ready]:
    """Forward alone, and with gradients. The forward pass is part of the other: it counts no call."""
    c, front = piece.config, (piece.batch_size, piece.sequence_length)
    segments = jnp.zeros(front, jnp.int32)
    q = _array(piece, (*front, c.num_heads, c.head_dim))
    k, v = (_array(piece, (*front, c.num_kv_heads, c.head_dim)) for _ in range(2))

    def attend(q: Array, k: Array, v: Array) -> Array:
        return piece.attention(q, k, v, segments)

    flops = attention_flops(c, piece.sequence_length) * piece.batch_size
    return [
        _forward_only("attention forward", 0, flops, piece, attend, [q, k, v]),
        _component("attention", c.num_layers, 3 * flops, piece, attend, [q, k, v], [q]),
    ]


def _embedding(piece: Workpiece) -> Ready:
    c, front = piece.config, (piece.batch_size, piece.sequence_length)
    tokens = jax.device_put(np.random.default_rng(3).integers(0, c.vocab_size, front, np.int32))

    def embed(table: Array) -> Array:
        return look_up(table, tokens).astype(piece.compute_dtype)

    gradient = [_array(piece, (*front, c.d_model))]
    table = _wide((c.vocab_size, c.d_model))
    return _component("embedding", 1, piece.tokens * c.d_model, piece, embed, [table], gradient)


def _vocabulary(piece: Workpiece) -> Ready:
    """The loss over the vocabulary with its gradients; it counts no call, the step is timed without it."""
    c, front = piece.config, (piece.batch_size, piece.sequence_length)
    targets = jax.device_put(np.random.default_rng(4).integers(0, c.vocab_size, front, np.int32))
    hidden, head = _array(piece, (*front, c.d_model)), _wide((c.vocab_size, c.d_model))

    def loss(hidden: Array, head: Array) -> Array:
        return mean_loss(hidden, head, targets, piece.z_loss, None)[0]

    flops = 6 * piece.tokens * c.d_model * c.vocab_size
    return _component("vocabulary loss", 0, flops, piece, loss, [hidden, head], [_wide(())])


def _component(
    name: str,
    calls: int,
    flops: int,
    piece: Workpiece,
    function: Callable[..., Array],
    inputs: list[Array],
    gradients: list[Array],
) -> Ready:
    """Forward and backward in one program: the result and the gradients by all inputs come out."""

    def both(inputs: list[Array], gradient: Array) -> Any:
        out, pull_back = jax.vjp(function, *inputs)
        return out, pull_back(gradient)

    return _compiled(name, calls, flops, piece, both, inputs, gradients[0])


def _forward_only(
    name: str, calls: int, flops: int, piece: Workpiece, function: Callable[..., Array], inputs: list[Array]
) -> Ready:
    return _compiled(name, calls, flops, piece, lambda inputs: function(*inputs), inputs)


def _compiled(
    name: str, calls: int, flops: int, piece: Workpiece, function: Callable[..., Any], *arguments: Any
) -> Ready:
    results = jax.eval_shape(function, *arguments)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((arguments, results)))
    return Component(name, calls, flops, size), compile_ahead(function, *arguments)


def _array(piece: Workpiece, shape: tuple[int, ...]) -> Array:
    return _random(shape, piece.compute_dtype)


def _wide(shape: tuple[int, ...]) -> Array:
    return _random(shape, jnp.float32)


def _random(shape: tuple[int, ...], dtype: Any) -> Array:
    values = np.random.default_rng(5).standard_normal(shape, np.float32)
    placed: Array = jax.device_put(np.asarray(values).astype(jnp.dtype(dtype)), jax.local_devices()[0])
    return placed
