"""The decoder against transformers' models, in float32: the same parameters, logits and gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.models import decoder
from pippin.models.config import ModelConfig
from pippin.models.loss import mean_loss
from pippin.models.parameters import flat_specs

pytestmark = pytest.mark.reference

# Names of transformers, per layer, with the form they take from ours: (E, H, D) -> (H D, E) and so on.
LAYER_NAMES = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "router": "mlp.gate",
}
TOP_NAMES = {"embedding": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
EXPERTS = {"expert_gate", "expert_up", "expert_down"}  # two arrays there: gate and up are one

# All three regions of the stretch: at theta 500 and 8 elements a head, the pairs turn 5.1, 1.1, 0.2 and 0.05
# times in 32 places.
SCALING = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 32}
MOE = {"num_experts": 5, "top_k": 2, "ffn_dim": 12}
# The family of transformers, and how its shape differs from the small decoder's.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-tied": ("Llama", {}),
    "llama3.1": ("Llama", {"tie_embeddings": False, "num_kv_heads": 1, "rope_scaling": SCALING}),
    "qwen3": ("Qwen3", {"qk_norm": True, "norm_epsilon": 1e-6}),
    "qwen3-moe": ("Qwen3Moe", {"qk_norm": True, "tie_embeddings": False, "moe": MOE}),
    "qwen3-moe-raw": (
        "Qwen3Moe",
        {"num_layers": 1, "qk_norm": True, "moe": MOE | {"normalize_top_k": False}},
    ),
    "mixtral": ("Mixtral", {"tie_embeddings": False, "moe": MOE}),
}


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="needs PyTorch: pip install 'pippin[reference]'")


@pytest.fixture(scope="module")
def transformers(torch: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the reference warns of at import is its own affair
        yield pytest.importorskip(
            "transformers", reason="needs transformers: pip install 'pippin[reference]'"
        )


def reference_model(transformers: Any, family: str, config: ModelConfig) -> Any:
    more: dict[str, Any] = {}
    if scaling := config.rope_scaling:
        stretch = scaling.model_dump()
        stretch["original_max_position_embeddings"] = stretch.pop("original_max_position")
        more["rope_scaling"] = {"rope_type": "llama3", **stretch}
    if moe := config.moe:
        more |= {"num_experts_per_tok": moe.top_k, "num_experts": moe.num_experts}
        more |= {"num_local_experts": moe.num_experts, "moe_intermediate_size": moe.ffn_dim}
        more |= {"norm_topk_prob": moe.normalize_top_k}
    made = getattr(transformers, f"{family}ForCausalLM")(
        getattr(transformers, f"{family}Config")(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=moe.ffn_dim if moe else config.ffn_dim,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            rope_theta=config.rope_theta,
            rms_norm_eps=config.norm_epsilon,
            tie_word_embeddings=config.tie_embeddings,
            attn_implementation="eager",
            **more,
        )
    )
    return made.float().eval()


def in_their_form(parameters: dict[str, Any], config: ModelConfig) -> dict[str, np.ndarray]:
    """Our parameters, or their gradients, by the reference's names and in its shapes."""
    theirs = {
        f"{name}.weight": np.asarray(parameters[ours])
        for ours, name in TOP_NAMES.items()
        if ours in parameters
    }
    layers = {name: np.asarray(array) for name, array in parameters["layers"].items()}
    for index in range(config.num_layers):
        folder = f"model.layers.{index}"
        for ours in layers.keys() - EXPERTS:
            theirs[f"{folder}.{LAYER_NAMES[ours]}.weight"] = turned(ours, layers[ours][index], config)
        if config.moe:
            gate, up, down = (layers[f"expert_{name}"][index] for name in ("gate", "up", "down"))
            both = np.concatenate([gate, up], axis=-1)
            theirs[f"{folder}.mlp.experts.gate_up_proj"] = both.transpose(0, 2, 1)
            theirs[f"{folder}.mlp.experts.down_proj"] = down.transpose(0, 2, 1)
    return theirs


def turned(name: str, array: np.ndarray, config: ModelConfig) -> np.ndarray:
    if array.ndim == 1:
        return array
    if name == "output":
        return array.reshape(-1, config.d_model).T
    return array.reshape(array.shape[0], -1).T


def load(torch: Any, model: Any, weights: dict[str, np.ndarray]) -> None:
    """Copies every weight; one missing on either side is an error."""
    named = dict(model.named_parameters())
    assert set(named) == set(weights)
    with torch.no_grad():
        for name, value in weights.items():
            named[name].copy_(torch.from_numpy(value.copy()))


@pytest.mark.parametrize(("family", "changes"), FAMILIES.values(), ids=FAMILIES)
def test_logits_and_gradients_agree_with_transformers(
    torch: Any,
    transformers: Any,
    small_config: Callable[..., ModelConfig],
    random_parameters: Callable[[ModelConfig], dict[str, Any]],
    family: str,
    changes: dict[str, Any],
) -> None:
    config = small_config(**changes)
    parameters = random_parameters(config)
    tokens, targets = np.random.default_rng(0).integers(0, config.vocab_size, (2, 2, 19))
    model = reference_model(transformers, family, config)
    load(torch, model, in_their_form(parameters, config))
    their_logits = model(input_ids=torch.from_numpy(tokens)).logits
    torch.nn.functional.cross_entropy(
        their_logits.reshape(-1, config.vocab_size), torch.from_numpy(targets).reshape(-1)
    ).backward()

    def forward(parameters: Any) -> Any:
        inputs = jnp.asarray(tokens, jnp.int32)
        segments = jnp.zeros_like(inputs)
        hidden = decoder.hidden_states(parameters, inputs, segments, config)
        loss, _ = mean_loss(hidden, decoder.head_matrix(parameters), jnp.asarray(targets, jnp.int32), 0.0)
        return loss, decoder.logits(parameters, hidden)

    gradients, our_logits = jax.jit(jax.grad(forward, has_aux=True))(parameters)

    np.testing.assert_allclose(our_logits, their_logits.detach().numpy(), rtol=1e-4, atol=1e-4)
    assert float(their_logits.detach().std()) > 0.1  # not a comparison of zeros
    their_gradients = {name: value.grad.numpy() for name, value in model.named_parameters()}
    our_gradients = in_their_form(gradients, config)
    assert set(our_gradients) == set(their_gradients)
    for name, expected in their_gradients.items():
        error = np.linalg.norm(our_gradients[name] - expected) / np.linalg.norm(expected)
        assert error < 1e-4, f"{name}: {error:.1e}"


def test_every_parameter_has_a_name_in_the_reference(small_config: Callable[..., ModelConfig]) -> None:
    ours: set[str] = set()
    for _, changes in FAMILIES.values():
        ours |= {path.rpartition(".")[2] for path in flat_specs(small_config(**changes))}
    assert ours == set(LAYER_NAMES) | set(TOP_NAMES) | EXPERTS
