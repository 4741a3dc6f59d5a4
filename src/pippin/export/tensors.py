"""Which array of another format is which part of ours, and how one becomes the other.

Others keep a matrix as (out, in) and a layer, sometimes an expert, an array; ours are (in, out) with heads
apart and layers stacked. A `Slot` is one array of theirs and its place in one of ours. Both directions go
over the same slots, so that what one writes the other reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pippin.models.config import ModelConfig
from pippin.models.parameters import ParameterSpec, flat_specs

_LAYER = "model.layers.{layer}."
_ATTENTION = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
    "layers.attention_norm": f"{_LAYER}input_layernorm.weight",
    "layers.query": f"{_LAYER}self_attn.q_proj.weight",
    "layers.key": f"{_LAYER}self_attn.k_proj.weight",
    "layers.value": f"{_LAYER}self_attn.v_proj.weight",
    "layers.output": f"{_LAYER}self_attn.o_proj.weight",
    "layers.query_norm": f"{_LAYER}self_attn.q_norm.weight",
    "layers.key_norm": f"{_LAYER}self_attn.k_norm.weight",
    "layers.ffn_norm": f"{_LAYER}post_attention_layernorm.weight",
}
# Names that transformers writes to disk, for the families that we know. Llama has no norms of queries and
# keys, Qwen3 has; a table may hold more than a shape needs.
DENSE = _ATTENTION | {
    "layers.gate": f"{_LAYER}mlp.gate_proj.weight",
    "layers.up": f"{_LAYER}mlp.up_proj.weight",
    "layers.down": f"{_LAYER}mlp.down_proj.weight",
}
QWEN3_MOE = _ATTENTION | {
    "layers.router": f"{_LAYER}mlp.gate.weight",
    "layers.expert_gate": f"{_LAYER}mlp.experts.{{expert}}.gate_proj.weight",
    "layers.expert_up": f"{_LAYER}mlp.experts.{{expert}}.up_proj.weight",
    "layers.expert_down": f"{_LAYER}mlp.experts.{{expert}}.down_proj.weight",
}
MIXTRAL = _ATTENTION | {
    "layers.router": f"{_LAYER}block_sparse_moe.gate.weight",
    "layers.expert_gate": f"{_LAYER}block_sparse_moe.experts.{{expert}}.w1.weight",
    "layers.expert_up": f"{_LAYER}block_sparse_moe.experts.{{expert}}.w3.weight",
    "layers.expert_down": f"{_LAYER}block_sparse_moe.experts.{{expert}}.w2.weight",
}
# GGUF (gguf.constants.TENSOR_NAMES): all experts of a layer in one array.
GGUF = {
    "embedding": "token_embd.weight",
    "final_norm": "output_norm.weight",
    "head": "output.weight",
    "layers.attention_norm": "blk.{layer}.attn_norm.weight",
    "layers.query": "blk.{layer}.attn_q.weight",
    "layers.key": "blk.{layer}.attn_k.weight",
    "layers.value": "blk.{layer}.attn_v.weight",
    "layers.output": "blk.{layer}.attn_output.weight",
    "layers.query_norm": "blk.{layer}.attn_q_norm.weight",
    "layers.key_norm": "blk.{layer}.attn_k_norm.weight",
    "layers.ffn_norm": "blk.{layer}.ffn_norm.weight",
    "layers.gate": "blk.{layer}.ffn_gate.weight",
    "layers.up": "blk.{layer}.ffn_up.weight",
    "layers.down": "blk.{layer}.ffn_down.weight",
    "layers.router": "blk.{layer}.ffn_gate_inp.weight",
    "layers.expert_gate": "blk.{layer}.ffn_gate_exps.weight",
    "layers.expert_up": "blk.{layer}.ffn_up_exps.weight",
    "layers.expert_down": "blk.{layer}.ffn_down_exps.weight",
}


@dataclass(frozen=True)
class Slot:
    """One array of theirs.

    Attributes:
        name: what they call it.
        path: the dotted path of ours that it is a part of.
        index: which part: (), (layer,) or (layer, expert).
        shape: of their array.
        our_shape: of that part of ours.
    """

    name: str
    path: str
    index: tuple[int, ...]
    shape: tuple[int, ...]
    our_shape: tuple[int, ...]

    def theirs(self, flat: Mapping[str, Any]) -> np.ndarray:
        """Their array, made of ours by dotted path; a view where it can be."""
        part = np.asarray(flat[self.path][self.index])
        if self._same:
            return part
        return part.reshape(*self.shape[:-2], self.shape[-1], self.shape[-2]).swapaxes(-1, -2)

    def put(self, array: np.ndarray, flat: Mapping[str, np.ndarray]) -> None:
        """Copies their array to its place in ours, as float32."""
        turned = array if self._same else array.swapaxes(-1, -2)
        flat[self.path][self.index] = turned.reshape(self.our_shape)

    @property
    def _same(self) -> bool:
        """Vectors and tables of tokens are the same on both sides."""
        return len(self.shape) == 1 or "." not in self.path


def slots(config: ModelConfig, names: Mapping[str, str]) -> Iterator[Slot]:
    """Every array of theirs for a shape, layer by layer.

    Args:
        config: the shape.
        names: a table above.
    """
    specs = flat_specs(config)
    for path, spec in specs.items():
        if spec.axes[0] != "layer":
            yield _slot(names[path], path, (), spec.shape, spec.axes)
    for layer in range(config.num_layers):
        for path, spec in specs.items():
            if spec.axes[0] == "layer":
                yield from _layer_slots(names[path], path, layer, spec)


def _layer_slots(name: str, path: str, layer: int, spec: ParameterSpec) -> Iterator[Slot]:
    if "{expert}" not in name:
        yield _slot(name.format(layer=layer), path, (layer,), spec.shape[1:], spec.axes[1:])
        return
    for expert in range(spec.shape[1]):
        named = name.format(layer=layer, expert=expert)
        yield _slot(named, path, (layer, expert), spec.shape[2:], spec.axes[2:])


def _slot(
    name: str, path: str, index: tuple[int, ...], shape: tuple[int, ...], axes: tuple[str, ...]
) -> Slot:
    return Slot(name, path, index, _their_shape(shape, axes), shape)


def _their_shape(shape: tuple[int, ...], axes: tuple[str, ...]) -> tuple[int, ...]:
    """Experts in front stay there; of a matrix in -> out, `embed` is the one side and all else the other."""
    if len(shape) == 1 or axes[0] == "vocab":
        return shape
    if axes[0] == "expert":
        return (shape[0], *_their_shape(shape[1:], axes[1:]))
    if axes[0] == "embed":
        return (math.prod(shape[1:]), shape[0])
    return (shape[-1], math.prod(shape[:-1]))
