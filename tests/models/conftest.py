from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.models import decoder
from pippin.models.attention import reference_attention
from pippin.models.config import ModelConfig
from pippin.models.functions import Functions, scan_layers, unroll_layers
from pippin.models.parameters import flat_specs

SMALL = {
    "vocab_size": 61,
    "d_model": 24,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,  # 4 x 8 is not d_model: the two are told apart
    "ffn_dim": 40,
    "rope_theta": 500.0,
}


# What each structure changes of the small decoder.
STRUCTURES: dict[str, dict[str, Any]] = {
    "dense": {},
    "qk-norm": {"qk_norm": True},
    "stretched": {
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position": 32,
        }
    },
    "reuse": {"num_layers": 5, "kv_reuse_layers": 2, "qk_norm": True},
    "dropless": {"moe": {"num_experts": 5, "top_k": 2, "ffn_dim": 12}},
    "capacity": {"moe": {"num_experts": 5, "top_k": 2, "ffn_dim": 12, "capacity_factor": 2.5}},
}


@pytest.fixture
def structures() -> dict[str, dict[str, Any]]:
    """By name, the changes to the small decoder that make each structure the trainer trains."""
    return STRUCTURES


@pytest.fixture(params=STRUCTURES.values(), ids=STRUCTURES)
def structure(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The changes of one of them; a test that asks for it runs once for each."""
    return dict(request.param)


@pytest.fixture
def small_config() -> Callable[..., ModelConfig]:
    """A small decoder in which no two sizes agree by accident; keyword arguments change it."""
    return lambda **changes: ModelConfig(**SMALL | changes)


@pytest.fixture
def random_parameters() -> Callable[[ModelConfig], dict[str, Any]]:
    """Parameters far from their start: norm scales differ from one, and every term counts."""

    def make(config: ModelConfig) -> dict[str, Any]:
        generator = np.random.default_rng(7)
        tree: dict[str, Any] = {}
        for path, spec in flat_specs(config).items():
            if spec.initial_std is None:
                value = generator.uniform(0.5, 1.5, spec.shape)
            else:
                value = generator.normal(0, 0.2, spec.shape)
            *folder, name = path.split(".")
            place = tree.setdefault(folder[0], {}) if folder else tree
            place[name] = jnp.asarray(value, jnp.float32)
        return tree

    return make


@pytest.fixture
def score() -> Callable[..., Any]:
    """Logits (B, S, V) of the whole decoder for tokens and segments (B, S)."""

    def run(
        parameters: Any,
        tokens: Any,
        config: ModelConfig,
        *,
        segments: Any = None,
        block_size: int = 128,
        scan: bool = True,
        **how: Any,
    ) -> Any:
        tokens = jnp.asarray(tokens, jnp.int32)
        segments = jnp.zeros_like(tokens) if segments is None else jnp.asarray(segments, jnp.int32)
        attention = partial(reference_attention, block_size=block_size)
        functions = Functions(attention=attention, layers=scan_layers if scan else unroll_layers)

        @jax.jit
        def whole(parameters: Any, tokens: Any, segments: Any) -> Any:
            hidden = decoder.hidden_states(parameters, tokens, segments, config, functions=functions, **how)
            return decoder.logits(parameters, hidden)

        return whole(parameters, tokens, segments)

    return run
