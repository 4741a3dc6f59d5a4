"""A worker of `train_peers.py`: the same model in PyTorch, from transformers, litgpt or written by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from _peer_setup import (
    BETAS,
    CLIP_NORM,
    EPSILON,
    LEARNING_RATE,
    NORM_EPSILON,
    ROPE_THETA,
    SEED,
    SHAPES,
    WEIGHT_DECAY,
    Shape,
    serve,
)
from torch import Tensor, nn

from pippin.models.parameters import initial_parameters


def rotate(x_BHSD: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x_BHSD.chunk(2, dim=-1)
    return x_BHSD * cosine + torch.cat((-second, first), dim=-1) * sine


class Block(nn.Module):
    """Pre-norm attention and SwiGLU, with the names that transformers gives its parameters."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.head_dim = shape.d_model, shape.d_model // shape.num_heads
        self.self_attn = nn.Module()
        for name, heads in (("q", shape.num_heads), ("k", shape.num_kv_heads), ("v", shape.num_kv_heads)):
            self.self_attn.add_module(f"{name}_proj", nn.Linear(width, heads * self.head_dim, bias=False))
        self.self_attn.o_proj = nn.Linear(width, width, bias=False)
        self.mlp = nn.Module()
        self.mlp.gate_proj = nn.Linear(width, shape.ffn_dim, bias=False)
        self.mlp.up_proj = nn.Linear(width, shape.ffn_dim, bias=False)
        self.mlp.down_proj = nn.Linear(shape.ffn_dim, width, bias=False)
        self.input_layernorm = nn.RMSNorm(width, eps=NORM_EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=NORM_EPSILON)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        h = self.input_layernorm(x)
        q, k, v = (
            getattr(self.self_attn, f"{name}_proj")(h).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for name in "qkv"
        )
        q, k = rotate(q, cosine, sine).to(v.dtype), rotate(k, cosine, sine).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.self_attn.o_proj(mixed.transpose(1, 2).flatten(2))
        h = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(h)) * self.mlp.up_proj(h))


class Plain(nn.Module):
    """A Llama as one would write it by hand."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.model.layers = nn.ModuleList(Block(shape) for _ in range(shape.num_layers))
        self.model.norm = nn.RMSNorm(shape.d_model, eps=NORM_EPSILON)
        self.lm_head = nn.Linear(shape.d_model, shape.vocab_size, bias=False)
        head_dim = shape.d_model // shape.num_heads
        rates = ROPE_THETA ** -(torch.arange(0, head_dim, 2) / head_dim)
        angles = torch.outer(torch.arange(shape.sequence_length).float(), rates).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, self.cosine, self.sine)
        return self.lm_head(self.model.norm(x))


class Transformers(nn.Module):
    """LlamaForCausalLM with SDPA, down to the logits."""

    def __init__(self, shape: Shape) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM  # slow to import

        super().__init__()
        config = LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.d_model,
            intermediate_size=shape.ffn_dim,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_kv_heads,
            max_position_embeddings=shape.sequence_length,
            rms_norm_eps=NORM_EPSILON,
            rope_theta=ROPE_THETA,
            tie_word_embeddings=False,
            attn_implementation="sdpa",
        )
        self.whole = LlamaForCausalLM(config)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.whole(tokens, use_cache=False).logits


class LitGPT(nn.Module):
    """litgpt's GPT in the shape of a Llama."""

    def __init__(self, shape: Shape) -> None:
        from litgpt.config import Config  # installed by whoever wants to compare
        from litgpt.model import GPT

        super().__init__()
        config = Config(
            block_size=shape.sequence_length,
            vocab_size=shape.vocab_size,
            padded_vocab_size=shape.vocab_size,
            n_layer=shape.num_layers,
            n_head=shape.num_heads,
            n_query_groups=shape.num_kv_heads,
            n_embd=shape.d_model,
            intermediate_size=shape.ffn_dim,
            rotary_percentage=1.0,
            rope_base=int(ROPE_THETA),
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            norm_eps=NORM_EPSILON,
            mlp_class_name="LLaMAMLP",
        )
        self.whole = GPT(config)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.whole(tokens)

    @staticmethod
    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights under litgpt's names; queries, keys and values are one matrix there."""
        names = {
            "model.embed_tokens": "transformer.wte",
            "model.layers": "transformer.h",
            "model.norm": "transformer.ln_f",
            "self_attn.o_proj": "attn.proj",
            "mlp.gate_proj": "mlp.fc_1",
            "mlp.up_proj": "mlp.fc_2",
            "mlp.down_proj": "mlp.proj",
            "input_layernorm": "norm_1",
            "post_attention_layernorm": "norm_2",
        }
        out = {}
        for name, value in state.items():
            if "k_proj" in name or "v_proj" in name:
                continue
            if "q_proj" in name:
                value = torch.cat([state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
            name = name.replace("self_attn.q_proj", "attn.qkv")
            for theirs, own in names.items():
                name = name.replace(theirs, own)
            out[name] = value
        return out


KINDS = {"plain": Plain, "transformers": Transformers, "litgpt": LitGPT}


def load(model: nn.Module, shape: Shape) -> None:
    """Gives the model the initial values that Pippin starts from."""
    values = initial_parameters(shape.config, SEED)
    layers = values["layers"]

    def matrix(array: np.ndarray, outputs: int) -> Tensor:
        """Of a linear layer, from (in..., out...) with `outputs` trailing dimensions of the result."""
        inputs = int(np.prod(array.shape[: array.ndim - outputs]))
        return torch.from_numpy(np.ascontiguousarray(array.reshape(inputs, -1).T))

    state = {
        "model.embed_tokens.weight": torch.from_numpy(values["embedding"]),
        "lm_head.weight": torch.from_numpy(values["head"]),
        "model.norm.weight": torch.from_numpy(values["final_norm"]),
    }
    names = {
        "self_attn.q_proj": ("query", 2),
        "self_attn.k_proj": ("key", 2),
        "self_attn.v_proj": ("value", 2),
        "self_attn.o_proj": ("output", 1),
        "mlp.gate_proj": ("gate", 1),
        "mlp.up_proj": ("up", 1),
        "mlp.down_proj": ("down", 1),
    }
    for index in range(shape.num_layers):
        prefix = f"model.layers.{index}"
        for name, (ours, outputs) in names.items():
            state[f"{prefix}.{name}.weight"] = matrix(layers[ours][index], outputs)
        state[f"{prefix}.input_layernorm.weight"] = torch.from_numpy(layers["attention_norm"][index])
        state[f"{prefix}.post_attention_layernorm.weight"] = torch.from_numpy(layers["ffn_norm"][index])
    if isinstance(model, LitGPT):
        state = model.renamed(state)
    getattr(model, "whole", model).load_state_dict(state)


def make_step(
    shape: Shape, *, kind: str, compiled: bool, autocast: bool, device: str
) -> Callable[..., float]:
    """One update as a function of inputs and targets."""
    torch.manual_seed(SEED)
    model = KINDS[kind](shape)
    load(model, shape)
    model.to(device)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim == 1]  # scales of norms
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)
    parameters = [*decayed, *spared]

    def loss_of(tokens: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(tokens).flatten(0, 1).float(), targets.flatten())

    forward = torch.compile(loss_of) if compiled else loss_of

    def step(inputs: np.ndarray, targets: np.ndarray) -> float:
        tokens, wanted = (torch.from_numpy(array).to(device, torch.int64) for array in (inputs, targets))
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            loss = forward(tokens, wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def main() -> None:
    _, kind, mode, dtype, shape_name, device = sys.argv
    if device == "cuda":
        torch.set_float32_matmul_precision("high")
    shape = SHAPES[shape_name]
    step = make_step(
        shape, kind=kind, compiled=mode == "compile", autocast=dtype == "bfloat16", device=device
    )
    more: dict[str, Any] = {} if device == "cpu" else {"peak_memory_bytes": torch.cuda.max_memory_allocated}
    serve(f"pytorch {mode} {kind}", dtype, shape, step, **more)


if __name__ == "__main__":
    main()
