"""What the words in a published table mean: models, precision, software and its date, recomputation."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from pippin.catalog.chips import load_chips
from pippin.models.config import ModelConfig
from pippin.plan.counts import Parameters, num_parameters
from pippin.plan.shape import Shapes
from pippin.plan.system import Precision, Stack, System, family_of, usual_stack

# torchtitan's selective policy keeps attention and every second product, and does the rest again
# (its docs on activation checkpointing); Megatron's does attention alone again.
_SELECTIVE_OPERATIONS = 0.4
# Under a power cap clocks fall with about this power of it: dynamic power grows with frequency and the square
# of a voltage that follows it.
_POWER_EXPONENT = 0.4
_CAP = re.compile(r"(\d{3,4}) ?W\b[^.;,]{0,12}(?:cap|limit)|(?:cap|limit)\w*[^.;,]{0,12}?(\d{3,4}) ?W\b")


class Refused(Exception):
    """Why a row cannot be scored."""


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(files("pippin.plan").joinpath("data", "recipes.toml").read_text(encoding="utf-8"))


@cache
def wrong_rows() -> dict[str, str]:
    """Rows whose printed number contradicts its neighbours or itself, by id: the reason."""
    return {row: entry["why"] for entry in _data()["wrong"] for row in entry["ids"]}


def model_family(name: str) -> str:
    """The model family of a name: what is held out together."""
    lowered = name.lower()
    for entry in _data()["family"]:
        if re.search(entry["pattern"], lowered):
            return str(entry["name"])
    return re.split(r"[\s\-_.\d]", lowered.strip(), maxsplit=1)[0] or "unnamed"


def precision_class(cells: dict[str, str]) -> Precision | None:
    """The class of a precision's name; None where it is none of the four."""
    text = cells.get("precision", "").lower()
    if "int8" in text:
        return "int8"
    if "fp4" in text:
        return "fp4"
    if "fp8" in text:
        return "fp8"
    return "bf16" if not text or re.search(r"bf16|fp16|bfloat16|float16|half|mixed|amp", text) else None


def stack_of(cells: dict[str, str]) -> Stack:
    """The software that a framework's name stands for; what is usual on the chip where it says nothing."""
    text = cells.get("framework", "").lower()
    if family_of(cells["chip_id"]) == "trainium":
        return "neuron"  # whatever stands on top, the compiler and runtime are Neuron's
    for entry in _data()["stack"]:
        if re.search(entry["pattern"], text):
            stack: Stack = entry["name"]
            if stack != "megatron":
                return stack
            year = cells.get("year", "")
            if year and float(year) < 2023:
                return "megatron2"
            return "plain" if without_overlap(cells) else "megatron"
    return usual_stack(family_of(cells["chip_id"]))


def without_overlap(cells: dict[str, str]) -> bool:
    """Whether a row says that exchanges did not run beside compute."""
    return "without comm/compute overlap" in cells.get("notes", "").lower()


def software_year(cells: dict[str, str], n: dict[str, float | None]) -> float:
    """When the software was released: its version if that is a date, else the middle of the row's year."""
    text = f"{cells.get('framework', '')} {cells.get('source_ref', '')}"
    if "megatron-deepspeed" in text.lower():
        return 2022.0  # its Megatron is that of 2021 and 2022, whenever it was run
    dated = re.search(r"(?:nemo |\bv|section \"?)(2\d)\.(\d\d)", text, re.IGNORECASE)
    if dated:
        return 2000 + int(dated[1]) + (int(dated[2]) - 0.5) / 12
    neuron = re.search(r"Neuron 2\.(\d+)", cells.get("notes", ""))
    if neuron:
        # 2.13 is of August 2023, 2.21 of December 2024 (the release notes' dates), about six a year.
        return 2023.65 + (int(neuron[1]) - 13) * 0.165
    year = n.get("year")
    return (year or 2024.0) + 0.5


def capped(cells: dict[str, str], system: System) -> System:
    """The system under the power cap that a row states, if it does ("500 W cap")."""
    text = f"{cells.get('chip', '')} {cells.get('notes', '')}"
    found = re.search(
        r"(\d{3,4}) ?W\b[^.;,]{0,12}(?:cap|limit)|(?:cap|limit)\w*[^.;,]{0,12}?(\d{3,4}) ?W\b", text
    )
    rated = load_chips()[system.chip_id].power_watts
    if not found or not rated:
        return system
    share = min(float(found[1] or found[2]) / rated, 1.0) ** _POWER_EXPONENT
    return replace(system, matrix_flops=system.matrix_flops * share, half_flops=system.half_flops * share)


def model_config(cells: dict[str, str], n: dict[str, float | None]) -> ModelConfig:
    """The model of a row: its columns, and what its name says that they cannot."""
    known = _known(cells["model"])
    layers, hidden, heads = (int(n[name] or 0) for name in ("layers", "hidden", "heads"))
    experts = int(n["n_experts"] or 0)
    ffn = int(n["ffn"] or 4 * hidden)
    kv_heads = int(n["kv_heads"] or heads)
    fields: dict[str, Any] = {
        "vocab_size": int(n["vocab"] or 50_304),
        "d_model": hidden,
        "num_layers": layers,
        "num_heads": heads,
        "num_kv_heads": kv_heads if kv_heads and heads % kv_heads == 0 else heads,
        "ffn_dim": ffn,
        "gated_ffn": known.get("gated", True),
        "tie_embeddings": known.get("tied", False),
    }
    head_dim = int(n["head_dim"] or 0) or (0 if hidden % heads == 0 else 128)
    fields["head_dim"] = head_dim
    if experts > 1:
        fields["moe"] = _experts(known, n, experts, ffn, layers)
    for name in ("mla", "sliding_window", "global_layer_every"):
        if name in known:
            fields[name] = known[name]
    return ModelConfig.model_validate(fields)


def _experts(
    known: dict[str, Any], n: dict[str, float | None], experts: int, ffn: int, layers: int
) -> dict[str, Any]:
    width = int(n["moe_ffn"] or ffn)
    shared = int(known.get("shared_experts", 0))
    first = int(known.get("first_dense", 0))
    # A truncated model keeps some layer with experts.
    first = min(first, max(layers - 1, 0))
    return {
        "num_experts": experts,
        "top_k": max(int(n["topk"] or 1), 1),
        "ffn_dim": width,
        "num_shared_experts": shared,
        "shared_ffn_dim": shared * width,
        "first_dense_layers": first,
        "every": int(known.get("every", 1)),
    }


def _known(name: str) -> dict[str, Any]:
    """What a model's name says of its shape."""
    lowered = name.lower()
    for entry in _data()["model"]:
        if re.search(entry["pattern"], lowered):
            return dict(entry)
    return {}


def recompute_of(
    cells: dict[str, str], shape: ModelConfig, layout: dict[str, Any], system: System
) -> dict[str, Any]:
    """Share of the layers done again, and whether the attention of the others is."""
    text = cells.get("recompute", "").lower()
    if not text:
        share = _needed(shape, layout, system)
        return {"recompute_layers": share, "recompute_attention": False}
    if text.startswith("none"):
        return {"recompute_layers": 0.0, "recompute_attention": False}
    if text.startswith("selective") and "torchtitan" in cells.get("framework", "").lower():
        return {"recompute_layers": _SELECTIVE_OPERATIONS, "recompute_attention": False}
    if text.startswith("selective"):
        return {"recompute_layers": 0.0, "recompute_attention": True}
    return {"recompute_layers": _policy_share(text), "recompute_attention": False}


def _policy_share(text: str) -> float:
    """The share of a layer's forward work that a policy in words does again, by what it says it keeps."""
    for entry in _data()["policy"]:
        if re.search(entry["pattern"], text):
            return float(entry["share"])
    kept = re.split(r"remat", text)[0]
    saved = [share for word, share in _data()["kept"].items() if re.search(rf"\b{word}\b", kept)]
    if not saved and not re.search(r"remat|offload|keep|save", text):
        raise Refused(f"recompute '{text}' not known")
    return max(1.0 - float(sum(saved)), 0.0)


def yes_or_no(cells: dict[str, str], name: str, usual: bool) -> bool:
    """A cell that says yes or no; `usual` where it says nothing. Raises `Refused`."""
    text = cells.get(name, "").lower()
    if text in ("", "n/a"):
        return usual
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text not in known:
        raise Refused(f"{name} '{text}' is neither yes nor no")
    return known[text]


def _needed(shape: ModelConfig, layout: dict[str, Any], system: System) -> float:
    """The least share of layers to do again so that the model fits: what a sensible user would have set."""
    ranks = layout["data"] * layout["context"]
    held = num_parameters(shape) / (layout["tensor"] * layout["stage"])
    if shape.moe and layout["expert"] > 1:
        parts = Parameters.of(Shapes.of(shape))
        experts = float(shape.num_moe_layers * shape.moe.num_experts * parts.expert[0])
        dense = num_parameters(shape) - experts
        # Megatron cuts experts by the tensor degree too, unless they are spread over those ranks.
        cut = layout["tensor"] if layout["expert"] <= ranks else 1
        held = (dense / layout["tensor"] + experts / (layout["expert"] * cut)) / layout["stage"]
    # bfloat16 weights and gradients, 12 bytes of float32 state (Adam), less what ZeRO shards.
    zero = layout["zero"]
    state = held * ((4.0 if zero < 3 else 4.0 / ranks) + (12.0 if zero < 1 else 12.0 / ranks))
    tokens = layout["micro_batch"] * layout["sequence_length"] / layout["context"]
    width = 8.0 * shape.d_model + 2.0 * (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim
    inner = shape.moe.top_k * shape.moe.ffn_dim + shape.moe.shared_ffn_dim if shape.moe else shape.ffn_dim
    layer = 2.0 * tokens * (width + (3 if shape.gated_ffn else 2) * inner) / layout["tensor"]
    waiting = min(layout["stage"], 1 + layout["global_batch"] // (layout["data"] * layout["micro_batch"]))
    activations = layer * shape.num_layers / layout["stage"] * waiting
    logits = tokens * shape.vocab_size * 6.0 / layout["tensor"]
    room = 0.92 * system.memory_bytes - state - logits
    if not system.memory_bytes or activations <= room:
        return 0.0
    return float(min(1.0, 1.0 - max(room, 0.0) / activations))
