"""`config.json` of the families that both sides know: from our shape to theirs and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pippin.errors import PippinError
from pippin.export import tensors
from pippin.models.config import ModelConfig, MoEConfig, RopeScaling


@dataclass(frozen=True)
class Family:
    """A model class of transformers, and its names of arrays on disk."""

    model_type: str
    architecture: str
    names: Mapping[str, str]


LLAMA = Family("llama", "LlamaForCausalLM", tensors.DENSE)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", tensors.DENSE)
MIXTRAL = Family("mixtral", "MixtralForCausalLM", tensors.MIXTRAL)
QWEN3_MOE = Family("qwen3_moe", "Qwen3MoeForCausalLM", tensors.QWEN3_MOE)
# Mistral without its window is Llama under another name; it is read, never written.
MISTRAL = Family("mistral", "MistralForCausalLM", tensors.DENSE)
FAMILIES = {family.model_type: family for family in (LLAMA, MISTRAL, QWEN3, MIXTRAL, QWEN3_MOE)}


def family_of(config: ModelConfig) -> Family:
    """The class that computes what this shape computes.

    Raises:
        PippinError: there is none; says why.
    """
    reason = config.planned_only
    if config.kv_reuse_layers:
        reason = "transformers has no class in which layers reuse another layer's keys and values"
    elif config.moe and not config.qk_norm and not config.moe.normalize_top_k:
        reason = "Mixtral always renormalises the weights of the chosen experts (moe.normalize_top_k)"
    if reason:
        raise PippinError(reason, where="model", fix="this shape stays in Pippin's own format")
    if config.moe:
        return QWEN3_MOE if config.qk_norm else MIXTRAL
    return QWEN3 if config.qk_norm else LLAMA


def to_hf(config: ModelConfig, *, max_positions: int, boundary_id: int, dtype: str) -> dict[str, Any]:
    """The content of `config.json`.

    The rotary base stands under `rope_theta` and `rope_scaling`, which old and new versions of transformers,
    vLLM and MLX read.

    Args:
        config: the shape.
        max_positions: the longest sequence it was trained on, in tokens.
        boundary_id: begins a text and ends it.
        dtype: of the arrays.
    """
    c, family = config, family_of(config)
    content = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": c.vocab_size,
        "hidden_size": c.d_model,
        "intermediate_size": c.moe.ffn_dim if c.moe and family is MIXTRAL else c.ffn_dim,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": max_positions,
        "rms_norm_eps": c.norm_epsilon,
        "rope_theta": c.rope_theta,
        "rope_scaling": _rope_scaling(c.rope_scaling),
        "tie_word_embeddings": c.tie_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": boundary_id,
        "eos_token_id": boundary_id,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if family is LLAMA:
        content["mlp_bias"] = False
    return content | (_moe(c.moe, family) if c.moe else {})


def _rope_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    fields = scaling.model_dump()
    return {
        "rope_type": "llama3",
        "original_max_position_embeddings": fields.pop("original_max_position"),
        **fields,
    }


def _moe(moe: MoEConfig, family: Family) -> dict[str, Any]:
    """Loss weights are for whoever trains on; at inference every token reaches its experts."""
    common = {"num_experts_per_tok": moe.top_k, "router_aux_loss_coef": moe.load_balance_weight}
    if family is MIXTRAL:
        return common | {"num_local_experts": moe.num_experts, "sliding_window": None}
    return common | {
        "num_experts": moe.num_experts,
        "moe_intermediate_size": moe.ffn_dim,
        "norm_topk_prob": moe.normalize_top_k,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


# Settings that change what a model computes, and the values under which it computes what ours does.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", None),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "decoder_sparse_step": (1, None),
    "mlp_only_layers": ([], None),
    "partial_rotary_factor": (1.0, None),
    "attention_multiplier": (None,),
    "quantization_config": (None,),
}


def from_hf(content: Mapping[str, Any], where: Path) -> tuple[ModelConfig, Family]:
    """The shape that a `config.json` describes.

    Raises:
        PippinError: a family or a setting that we do not have, a key that is missing, an impossible shape.
    """
    family = FAMILIES.get(str(content.get("model_type")))
    if family is None:
        known = ", ".join(FAMILIES)
        raise PippinError(
            f"unknown model_type {content.get('model_type')!r}", where=where, fix=f"known: {known}"
        )
    _refuse_other_mathematics(content, where)
    try:
        return _shape(content, family, where), family
    except KeyError as error:
        raise PippinError(f"{error.args[0]} is missing", where=where) from error
    except (TypeError, ValueError, AttributeError) as error:
        if not isinstance(error, ValidationError):
            raise PippinError(f"a setting has a value of the wrong kind: {error}", where=where) from error
        first = error.errors()[0]
        name, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise PippinError(f"not a shape we can build: {name} {message}", where=where) from error


def _refuse_other_mathematics(content: Mapping[str, Any], where: Path) -> None:
    settings = dict(content)
    if settings.get("use_sliding_window") is False:  # Qwen names a window that it does not use
        settings.pop("sliding_window", None)
    for key, plain in _PLAIN.items():
        if settings.get(key) not in plain:
            raise PippinError(
                f"{key} = {settings[key]!r} is not supported", where=where, fix=f"only {plain[0]!r} is"
            )


def _shape(content: Mapping[str, Any], family: Family, where: Path) -> ModelConfig:
    theta, scaling = _rope(content, where)
    heads = content["num_attention_heads"]
    fields = {
        "vocab_size": content["vocab_size"],
        "d_model": content["hidden_size"],
        "num_layers": content["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": content.get("num_key_value_heads") or heads,
        "head_dim": content.get("head_dim") or 0,
        "ffn_dim": content["intermediate_size"],
        "tie_embeddings": content.get("tie_word_embeddings", False),
        "rope_theta": float(theta),
        "norm_epsilon": float(content["rms_norm_eps"]),
        "rope_scaling": scaling,
        "qk_norm": family in (QWEN3, QWEN3_MOE),
        "moe": _moe_config(content, family),
    }
    return ModelConfig(**fields)


def _rope(content: Mapping[str, Any], where: Path) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`."""
    scaling = dict(content.get("rope_parameters") or content.get("rope_scaling") or {})
    theta = scaling.get("rope_theta", content.get("rope_theta", 10_000.0))
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind != "llama3":
        what = f"a rotary embedding of type {kind!r} is not supported"
        raise PippinError(what, where=where, fix="'default' and 'llama3' are")
    return theta, RopeScaling(
        factor=float(scaling["factor"]),
        low_freq_factor=float(scaling["low_freq_factor"]),
        high_freq_factor=float(scaling["high_freq_factor"]),
        original_max_position=scaling["original_max_position_embeddings"],
    )


def _moe_config(content: Mapping[str, Any], family: Family) -> MoEConfig | None:
    if family not in (MIXTRAL, QWEN3_MOE):
        return None
    experts = content.get("num_experts") or content["num_local_experts"]
    mixtral = family is MIXTRAL
    return MoEConfig(
        num_experts=experts,
        top_k=content["num_experts_per_tok"],
        ffn_dim=content["intermediate_size" if mixtral else "moe_intermediate_size"],
        normalize_top_k=mixtral or bool(content.get("norm_topk_prob", False)),
    )
