"""Every parameter of a decoder: its shape, its logical axes, and how it starts.

Layers are stacked: an array of the decoder's block has the layer as its first dimension.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

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


def parameter_specs(config: ModelConfig) -> dict[str, Any]:
    """The pytree of `ParameterSpec` for a configuration: the same keys as the parameters themselves.

    Matrices start normal with deviation 1/sqrt(fan-in); the two that write to the residual stream are
    divided by sqrt(2 layers) (GPT-2). The embedding starts as the head it may be: 1/sqrt(width). At the
    usual 0.02 a small tied model learnt more slowly (docs/performance.md).
    """
    c, layers = config, config.num_layers
    inner = 1 / math.sqrt(c.d_model)
    to_residual = 1 / math.sqrt(2 * layers)

    def block(shape: tuple[int, ...], axes: tuple[str, ...], std: float | None) -> ParameterSpec:
        return ParameterSpec((layers, *shape), ("layer", *axes), std)

    specs: dict[str, Any] = {
        "embedding": ParameterSpec((c.vocab_size, c.d_model), ("vocab", "embed"), inner),
        "layers": {
            "attention_norm": block((c.d_model,), ("norm",), None),
            "query": block((c.d_model, c.num_heads, c.head_dim), ("embed", "heads", "head"), inner),
            "key": block((c.d_model, c.num_kv_heads, c.head_dim), ("embed", "kv_heads", "head"), inner),
            "value": block((c.d_model, c.num_kv_heads, c.head_dim), ("embed", "kv_heads", "head"), inner),
            "output": block(
                (c.num_heads, c.head_dim, c.d_model),
                ("heads", "head", "embed"),
                to_residual / math.sqrt(c.num_heads * c.head_dim),
            ),
            "ffn_norm": block((c.d_model,), ("norm",), None),
            "gate": block((c.d_model, c.ffn_dim), ("embed", "ffn"), inner),
            "up": block((c.d_model, c.ffn_dim), ("embed", "ffn"), inner),
            "down": block((c.ffn_dim, c.d_model), ("ffn", "embed"), to_residual / math.sqrt(c.ffn_dim)),
        },
        "final_norm": ParameterSpec((c.d_model,), ("norm",), None),
    }
    if not c.tie_embeddings:
        specs["head"] = ParameterSpec((c.vocab_size, c.d_model), ("vocab", "embed"), inner)
    return specs


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
