"""The decoder as pure functions of a plain pytree of parameters.

What depends on the machine or the mesh (attention, the loop over layers, where parts meet, the compute
type) is handed in, see `models.functions`. Shapes: B batch, S sequence, E model width, H heads, K key-value
heads, D head width, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from pippin.models import scopes
from pippin.models.config import ModelConfig, RopeScaling
from pippin.models.contraction import contract, product
from pippin.models.functions import SINGLE_DEVICE, Functions, Parameters
from pippin.models.moe import RouterReport
from pippin.models.recompute import after

KeysValues = tuple[Array, Array]
# Turns queries and the layer's keys and values (None: it has none of its own) into mixed values, with a
# record to keep beside them.
Attend = Callable[[Array, KeysValues | None], tuple[Array, Any]]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rms_norm(x: Array, scale: Array, epsilon: float) -> Array:
    """Root-mean-square norm over the last dimension, computed in float32.

    The derivative is written by hand: of the forward pass it needs the arguments and one number for each row,
    and takes half the passes over the array that a compiler makes of the derived one.
    """
    return _norm_forward(x, scale, epsilon)[0]


def _norm_forward(x: Array, scale: Array, epsilon: float) -> tuple[Array, tuple[Array, Array, Array]]:
    with jax.named_scope(scopes.NORM):
        wide = x.astype(jnp.float32)
        inverse = lax.rsqrt(_row_mean(wide * wide) + epsilon)
        return (wide * inverse * scale).astype(x.dtype), (x, scale, inverse)


def _norm_backward(epsilon: float, kept: tuple[Array, Array, Array], pull: Array) -> tuple[Array, Array]:
    x, scale, inverse = kept
    with jax.named_scope(scopes.NORM):
        wide, pull = x.astype(jnp.float32), pull.astype(jnp.float32)
        share = wide * pull * inverse
        # A product, since XLA for the CPU would write the scale out for every row to sum over it.
        along = jnp.einsum("...e,e->...", share, scale.astype(jnp.float32), precision=lax.Precision.HIGHEST)
        along = along[..., None] / x.shape[-1]
        by_x = inverse * (pull * scale - wide * (inverse * along))
        by_scale = jnp.sum(share, axis=range(x.ndim - 1))
    return by_x.astype(x.dtype), by_scale.astype(scale.dtype)


def _row_mean(x: Array) -> Array:
    # Bounds that change no finite number: XLA for the CPU would fuse the mean with what follows, and write it
    # out once for every element of the row.
    limit = float(np.finfo(np.float32).max)
    return lax.clamp(-limit, jnp.mean(x, axis=-1, keepdims=True), limit)


rms_norm.defvjp(_norm_forward, _norm_backward)


def rotary_angles(
    positions: Array, head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Array, Array]:
    """Cosine and sine (..., D / 2), float32, for int32 positions (...)."""
    exponents = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies = theta**-exponents
    if scaling:
        frequencies = _stretched(frequencies, scaling)
    angles = positions[..., None].astype(jnp.float32) * frequencies

    def one(_: None, is_sine: Array) -> tuple[None, Array]:
        return None, jnp.where(is_sine, jnp.sin(angles), jnp.cos(angles))

    # In a loop, since a compiler would compute them again wherever they are used, for every head and layer.
    _, (cosine, sine) = lax.scan(one, None, jnp.array([False, True]))
    return cosine, sine


def _stretched(frequencies: Array, scaling: RopeScaling) -> Array:
    """Wavelengths that turn at most `low_freq_factor` times in the original context grow by `factor`, those
    that turn at least `high_freq_factor` times stay, between them it is gradual (Llama 3.1's published code).
    """
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position * frequencies / (2 * jnp.pi)
    kept = jnp.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (kept + (1 - kept) / scaling.factor)


def rotate(x_BSHD: Array, angles: tuple[Array, Array]) -> Array:
    """Rotary embedding in the half-split form that Hugging Face's Llama uses."""
    cosine, sine = (angle[..., None, :] for angle in angles)
    first, second = jnp.split(x_BSHD.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return turned.astype(x_BSHD.dtype)


def attention_layer(
    x_BSE: Array,
    layer: Parameters,
    angles: tuple[Array, Array],
    config: ModelConfig,
    attend: Attend,
    functions: Functions = SINGLE_DEVICE,
) -> tuple[Array, Any]:
    """Norm, projections, attention; returns what is added to the residual stream."""
    dtype = x_BSE.dtype
    h_BSE = functions.enter(rms_norm(x_BSE, layer["attention_norm"], config.norm_epsilon))

    names = [name for name in ("query", "key", "value") if name in layer]
    with jax.named_scope(scopes.PRODUCT):
        # One product for all, heads and head width one dimension in it: with two, XLA for the CPU copies both
        # operands transposed.
        flat = [layer[name].astype(dtype).reshape(x_BSE.shape[-1], -1) for name in names]
        joined = contract("bse,ef->bsf", h_BSE, jnp.concatenate(flat, axis=1)).astype(dtype)
        parts = jnp.split(joined, np.cumsum([part.shape[1] for part in flat])[:-1], axis=-1)
        projected: dict[str, Array] = {
            name: part.reshape(*part.shape[:2], *layer[name].shape[1:])
            for name, part in zip(names, parts, strict=True)
        }

    def turned(name: str) -> Array:
        heads = projected[name]
        if config.qk_norm:
            heads = rms_norm(heads, layer[f"{name}_norm"], config.norm_epsilon)
        with jax.named_scope(scopes.ROTARY):
            return rotate(heads, angles)

    own = (turned("key"), projected["value"]) if "key" in layer else None
    mixed, kept = attend(turned("query"), own)
    with jax.named_scope(scopes.PRODUCT):
        weights = layer["output"].astype(dtype).reshape(-1, x_BSE.shape[-1])
        out = contract("bsf,fe->bse", mixed.reshape(*mixed.shape[:2], -1), weights).astype(dtype)
    return functions.leave(out), kept


def feed_forward(
    x_BSE: Array, layer: Parameters, config: ModelConfig, functions: Functions = SINGLE_DEVICE
) -> tuple[Array, RouterReport | None]:
    """Norm, then SwiGLU or experts; returns what is added to the residual stream, and what a router says."""
    dtype = x_BSE.dtype
    h_BSE = functions.enter(rms_norm(x_BSE, layer["ffn_norm"], config.norm_epsilon))
    if config.moe:
        with jax.named_scope(scopes.EXPERTS):
            mixed, report = functions.experts(h_BSE, layer, config.moe)
        return functions.leave(mixed), report
    with jax.named_scope(scopes.PRODUCT):
        gate = contract("bse,ef->bsf", h_BSE, layer["gate"].astype(dtype))
        up = contract("bse,ef->bsf", h_BSE, layer["up"].astype(dtype))
        down = layer["down"].astype(dtype)
    with jax.named_scope(scopes.GATE):
        return functions.leave(gated(gate, up, down)), None


@jax.custom_vjp
def gated(gate_BSF: Array, up_BSF: Array, down_FE: Array) -> Array:
    """The second half of SwiGLU, (B, S, E) in the type of `down`. Gate and up are float32.

    The product of gate and up is computed again in the backward pass.
    """
    return _gated_forward(gate_BSF, up_BSF, down_FE)[0]


def _gated_forward(gate: Array, up: Array, down: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    gated_product = (jax.nn.silu(gate) * up).astype(down.dtype)
    with jax.named_scope(scopes.PRODUCT):
        return contract("bsf,fe->bse", gated_product, down).astype(down.dtype), (gate, up, down)


def _gated_backward(kept: tuple[Array, Array, Array], pull_BSE: Array) -> tuple[Array, Array, Array]:
    gate, up, down = kept
    with jax.named_scope(scopes.PRODUCT):
        by_product = contract("bse,fe->bsf", pull_BSE, down)
    # Each of the three computes its own sigmoid: one for all would be written out and read back, which takes
    # longer. They are tied to different elements, so that no compiler sees that they are the same.
    gate, up = after(gate, pull_BSE), after(up, pull_BSE)
    gated_product = (jax.nn.silu(gate) * up).astype(down.dtype)
    with jax.named_scope(scopes.PRODUCT):
        by_down = product("bsf,bse->fe", gated_product, pull_BSE)
    by_up = by_product * jax.nn.silu(after(gate, by_product))
    gate = after(gate, by_product[..., 1:])
    open_ = jax.nn.sigmoid(gate)
    by_gate = by_product * up * (open_ + gate * open_ * (1 - open_))
    return by_gate, by_up, by_down.astype(down.dtype)


gated.defvjp(_gated_forward, _gated_backward)


def block(
    x_BSE: Array,
    layer: Parameters,
    angles: tuple[Array, Array],
    config: ModelConfig,
    attend: Attend,
    functions: Functions = SINGLE_DEVICE,
) -> tuple[Array, tuple[Any, RouterReport | None]]:
    """One layer: the stream after it, what `attend` kept, and the router's report."""
    mixed, kept = attention_layer(x_BSE, layer, angles, config, attend, functions)
    with jax.named_scope(scopes.RESIDUAL):
        x_BSE = x_BSE + mixed
    mixed, report = feed_forward(x_BSE, layer, config, functions)
    with jax.named_scope(scopes.RESIDUAL):
        return x_BSE + mixed, (kept, report)


def forward(
    parameters: Parameters,
    tokens_BS: Array,
    segments_BS: Array,
    config: ModelConfig,
    *,
    functions: Functions = SINGLE_DEVICE,
    compute_dtype: Any = jnp.float32,
    positions_S: Array | None = None,
) -> tuple[Array, RouterReport | None]:
    """Runs the decoder up to its final norm.

    Args:
        parameters: as `models.parameters` describes, float32.
        tokens_BS: int32 token ids.
        segments_BS: int32 document number of each token; attention stays within a document.
        config: the shape.
        functions: how the work is spread, and which kernels do it.
        compute_dtype: the type of activations and of both sides of every product.
        positions_S: int32 places of these tokens in their sequence; None: from 0 on.

    Returns:
        (B, S, E) in `compute_dtype`; and the routers' report, layers in front, None without experts.
    """
    x_BSE = functions.embed(parameters["embedding"], tokens_BS).astype(compute_dtype)
    x_BSE, report = run_layers(
        parameters, x_BSE, segments_BS, config, functions=functions, positions_S=positions_S
    )
    return rms_norm(x_BSE, parameters["final_norm"], config.norm_epsilon), report


def run_layers(
    parameters: Parameters,
    x_BSE: Array,
    segments_BS: Array,
    config: ModelConfig,
    *,
    functions: Functions = SINGLE_DEVICE,
    positions_S: Array | None = None,
) -> tuple[Array, RouterReport | None]:
    """The layers alone, all or some of them: the stream after them, and their routers' report."""
    if positions_S is None:
        positions_S = jnp.arange(segments_BS.shape[1], dtype=jnp.int32)
    with jax.named_scope(scopes.ROTARY):
        angles = rotary_angles(positions_S, config.head_dim, config.rope_theta, config.rope_scaling)
    keep = config.kv_reuse_layers > 0

    def stack(name: str, x_BSE: Array, shared: KeysValues | None) -> tuple[Array, Any]:
        def attend(q: Array, own: KeysValues | None) -> tuple[Array, KeysValues | None]:
            keys_values = own or shared
            assert keys_values is not None
            with jax.named_scope(scopes.ATTENTION):
                return functions.attention(q, *keys_values, segments_BS), own if keep else None

        def body(x: Array, layer: Parameters) -> tuple[Array, Any]:
            return block(x, layer, angles, config, attend, functions)

        with jax.named_scope(scopes.LAYERS):
            return functions.layers(body, x_BSE, parameters[name])

    x_BSE, (kept, report) = stack("layers", x_BSE, None)
    if keep:
        # All layers' keys and values are stacked for the last one's: a loop reports the same of each layer.
        x_BSE, _ = stack("reuse_layers", x_BSE, (kept[0][-1], kept[1][-1]))
    return x_BSE, report


def hidden_states(
    parameters: Parameters, tokens_BS: Array, segments_BS: Array, config: ModelConfig, **how: Any
) -> Array:
    """`forward` without the routers' report."""
    return forward(parameters, tokens_BS, segments_BS, config, **how)[0]


def head_matrix(parameters: Parameters) -> Array:
    """The (V, E) matrix of the language-model head: the embedding itself where they are tied."""
    head: Array = parameters["head"] if "head" in parameters else parameters["embedding"]
    return head


def logits(parameters: Parameters, hidden_BSE: Array) -> Array:
    """Scores of the next token, (B, S, V) float32."""
    return contract("bse,ve->bsv", hidden_BSE, head_matrix(parameters).astype(hidden_BSE.dtype))
