"""Every parameter of a decoder: its shape, its logical axes, and how it starts.

Layers are stacked: an array of the decoder's block has the layer as its first dimension. Layers that read
another layer's keys and values are a second stack, `reuse_layers`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.errors import PippinError
from pippin.models.config import ModelConfig


@dataclass(frozen=True)
class ParameterSpec:
    """One array: sizes, a logical axis name for each dimension, and the deviation it starts with."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    initial_std: float | None  # None: starts at one (norm scales)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def refuse_planned(config: ModelConfig) -> None:
    """Stops where a shape has parts that are planned, not trained.

    Raises:
        PippinError: it does.
    """
    if reason := config.planned_only:
        raise PippinError(reason, where="model", fix="choose another shape, or `pippin plan` this one")


def parameter_specs(config: ModelConfig) -> dict[str, Any]:
    """The pytree of `ParameterSpec` for a configuration: the same keys as the parameters themselves.

    Matrices start normal with deviation 1/sqrt(fan-in); the two that write to the residual stream are
    divided by sqrt(2 layers) (GPT-2). The embedding starts as the head it may be: 1/sqrt(width). At the
    usual 0.02 a small tied model learnt more slowly (docs/performance.md).

    Raises:
        PippinError: only the planner knows this shape.
    """
    refuse_planned(config)
    c, own = config, config.num_layers - config.kv_reuse_layers
    inner = 1 / math.sqrt(c.d_model)
    specs: dict[str, Any] = {
        "embedding": ParameterSpec((c.vocab_size, c.d_model), ("vocab", "embed"), inner),
        "layers": _stack(own, _attention(c) | _keys_and_values(c) | (_experts(c) if c.moe else _dense(c))),
        "final_norm": ParameterSpec((c.d_model,), ("norm",), None),
    }
    if c.kv_reuse_layers:
        specs["reuse_layers"] = _stack(c.kv_reuse_layers, _attention(c) | _dense(c))
    if not c.tie_embeddings:
        specs["head"] = ParameterSpec((c.vocab_size, c.d_model), ("vocab", "embed"), inner)
    return specs


def _stack(count: int, block: dict[str, ParameterSpec]) -> dict[str, ParameterSpec]:
    """So many layers of a block as arrays with the layer in front."""
    return {
        name: ParameterSpec((count, *spec.shape), ("layer", *spec.axes), spec.initial_std)
        for name, spec in block.items()
    }


def _to_residual(c: ModelConfig) -> float:
    return 1 / math.sqrt(2 * c.num_layers)


def _attention(c: ModelConfig) -> dict[str, ParameterSpec]:
    """What every layer's attention has; `query_norm` is one scale for all heads."""
    std = _to_residual(c) / math.sqrt(c.num_heads * c.head_dim)
    specs = {
        "attention_norm": ParameterSpec((c.d_model,), ("norm",), None),
        "query": ParameterSpec(
            (c.d_model, c.num_heads, c.head_dim), ("embed", "heads", "head"), 1 / math.sqrt(c.d_model)
        ),
        "output": ParameterSpec((c.num_heads, c.head_dim, c.d_model), ("heads", "head", "embed"), std),
    }
    return specs | ({"query_norm": ParameterSpec((c.head_dim,), ("head",), None)} if c.qk_norm else {})


def _keys_and_values(c: ModelConfig) -> dict[str, ParameterSpec]:
    """What only a layer with keys and values of its own has."""
    shape, axes = (c.d_model, c.num_kv_heads, c.head_dim), ("embed", "kv_heads", "head")
    specs = {name: ParameterSpec(shape, axes, 1 / math.sqrt(c.d_model)) for name in ("key", "value")}
    return specs | ({"key_norm": ParameterSpec((c.head_dim,), ("head",), None)} if c.qk_norm else {})


def _dense(c: ModelConfig) -> dict[str, ParameterSpec]:
    inner, to_residual = 1 / math.sqrt(c.d_model), _to_residual(c) / math.sqrt(c.ffn_dim)
    return {
        "ffn_norm": ParameterSpec((c.d_model,), ("norm",), None),
        "gate": ParameterSpec((c.d_model, c.ffn_dim), ("embed", "ffn"), inner),
        "up": ParameterSpec((c.d_model, c.ffn_dim), ("embed", "ffn"), inner),
        "down": ParameterSpec((c.ffn_dim, c.d_model), ("ffn", "embed"), to_residual),
    }


def _experts(c: ModelConfig) -> dict[str, ParameterSpec]:
    """The router's columns have an axis of their own: every token is scored against all experts."""
    assert c.moe is not None
    experts, ffn = c.moe.num_experts, c.moe.ffn_dim
    inner, to_residual = 1 / math.sqrt(c.d_model), _to_residual(c) / math.sqrt(ffn)
    inward, axes = (experts, c.d_model, ffn), ("expert", "embed", "expert_ffn")
    return {
        "ffn_norm": ParameterSpec((c.d_model,), ("norm",), None),
        "router": ParameterSpec((c.d_model, experts), ("embed", "router"), inner),
        "expert_gate": ParameterSpec(inward, axes, inner),
        "expert_up": ParameterSpec(inward, axes, inner),
        "expert_down": ParameterSpec(
            (experts, ffn, c.d_model), ("expert", "expert_ffn", "embed"), to_residual
        ),
    }


def flat_specs(config: ModelConfig) -> dict[str, ParameterSpec]:
    """`parameter_specs` as one level of dotted paths, in sorted order."""
    return dict(sorted(_flatten(parameter_specs(config), "").items()))


def _flatten(tree: dict[str, Any], prefix: str) -> dict[str, ParameterSpec]:
    flat: dict[str, ParameterSpec] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat |= _flatten(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def initial_parameters(config: ModelConfig, seed: int) -> dict[str, Any]:
    """Makes the parameters on the host, as float32 NumPy arrays.

    Each array has a generator of its own, keyed by seed and path, so that the values depend neither on
    the device (random initialisation compiles slowly on some) nor on the order of the arrays.
    """

    def make(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
        return {
            name: make(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else _draw(value, seed, f"{prefix}{name}")
            for name, value in tree.items()
        }

    return make(parameter_specs(config), "")


def _draw(spec: ParameterSpec, seed: int, path: str) -> np.ndarray:
    if spec.initial_std is None:
        return np.ones(spec.shape, np.float32)
    generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(path.encode())]))
    values = generator.standard_normal(spec.shape, dtype=np.float32)
    values *= np.float32(spec.initial_std)
    return values
