"""The layouts that are compared with a single device, (mesh, kind of model, layers) by name, and the errors
that are planted."""

from __future__ import annotations

from typing import Any

ROWS, LENGTH, VOCABULARY = 8, 32, 328
DENSE = {"d_model": 32, "num_heads": 8, "num_kv_heads": 8, "head_dim": 4, "ffn_dim": 48, "qk_norm": True}
EXPERTS = {"num_experts": 4, "top_k": 2, "ffn_dim": 24, "load_balance_weight": 1.0, "router_z_weight": 0.1}


def shape_of(kind: str) -> dict[str, Any]:
    """A small model of two layers; its vocabulary is such that every part of it is hit."""
    shape: dict[str, Any] = {"vocab_size": VOCABULARY, "num_layers": 2, **DENSE}
    shape |= {"num_kv_heads": 4} if kind == "tied" else {"tie_embeddings": False}
    if kind == "deep":
        shape |= {"num_layers": 4}
    if kind == "reuse":
        shape |= {"kv_reuse_layers": 1}
    if kind in ("dropless", "capacity"):
        # A capacity that drops none: every token of a sequence fits one expert.
        shape |= {"moe": EXPERTS | ({"capacity_factor": 2.0} if kind == "capacity" else {})}
    return shape


LAYOUTS: dict[str, tuple[dict[str, Any], str, int]] = {
    "data 2": ({"data": 2}, "dense", 2),
    "data 8": ({"data": 8}, "tied", 2),
    "fsdp 2": ({"fsdp": 2}, "dense", 2),
    "fsdp 8": ({"fsdp": 8}, "tied", 2),
    "tensor 2": ({"tensor": 2}, "tied", 2),
    "tensor 8": ({"tensor": 8}, "dense", 2),
    "context 2": ({"context": 2}, "dense", 2),
    "context 4": ({"context": 4}, "tied", 2),
    "stage 2": ({"stage": 2, "micro_batches": 4}, "tied", 2),
    "stage 4": ({"stage": 4, "micro_batches": 2}, "dense", 4),
    "expert 2": ({"expert": 2}, "dropless", 2),
    "expert 4": ({"expert": 4}, "capacity", 2),
    "accumulation": ({"micro_batches": 4}, "dense", 2),
    "full remat": ({"remat": "full"}, "dense", 2),
    "data 2 x fsdp 2 x tensor 2, accumulation": (
        {"data": 2, "fsdp": 2, "tensor": 2, "micro_batches": 2},
        "tied",
        2,
    ),
    "fsdp 2 x tensor 2, full remat": ({"fsdp": 2, "tensor": 2, "remat": "full"}, "dense", 2),
    "fsdp 4 x tensor 2, selective remat": ({"fsdp": 4, "tensor": 2, "remat": "selective"}, "reuse", 2),
    "context 2 x tensor 2 x fsdp 2": ({"context": 2, "tensor": 2, "fsdp": 2}, "reuse", 2),
    "stage 2 x tensor 2 x fsdp 2": (
        {"stage": 2, "tensor": 2, "fsdp": 2, "micro_batches": 2, "remat": "selective"},
        "tied",
        2,
    ),
    "stage 2 x context 2 x data 2": ({"stage": 2, "context": 2, "data": 2, "micro_batches": 2}, "dense", 2),
    "experts on data 2 x tensor 2, accumulation": (
        {"data": 2, "tensor": 2, "micro_batches": 2},
        "dropless",
        2,
    ),
    "expert 2 x fsdp 2 x tensor 2": ({"expert": 2, "fsdp": 2, "tensor": 2}, "dropless", 2),
    "stage 2 x expert 2 x fsdp 2": ({"stage": 2, "expert": 2, "fsdp": 2, "micro_batches": 2}, "dropless", 2),
    "expert 2 x context 2": ({"expert": 2, "context": 2, "remat": "full"}, "capacity", 2),
}

PLANTED = ("missing all-reduce", "unreduced gradients", "wrong scale", "a router counted twice")

# What the compiled step exchanges is read for these: (mesh, kind of model).
EXCHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "data 8": ({"data": 8}, "dense"),
    "fsdp 4 x tensor 2": ({"fsdp": 4, "tensor": 2}, "dense"),
    "data 2 x fsdp 2 x tensor 2, accumulation": (
        {"data": 2, "fsdp": 2, "tensor": 2, "micro_batches": 2},
        "tied",
    ),
    "context 4 x data 2": ({"context": 4, "data": 2}, "dense"),
    "context 2 x tensor 2 x fsdp 2": ({"context": 2, "tensor": 2, "fsdp": 2}, "dense"),
    "expert 2 x fsdp 4": ({"expert": 2, "fsdp": 4}, "capacity"),
    "stage 2 x tensor 2 x fsdp 2": ({"stage": 2, "tensor": 2, "fsdp": 2, "micro_batches": 4}, "deep"),
}
# Smaller collectives are not compared: norms of gradients, router sums, the loss.
FROM_BYTES = 100
# Lowered for every target: (mesh, kind of model).
LOWERED: dict[str, tuple[dict[str, Any], str]] = {
    "fsdp 4 x tensor 2": ({"fsdp": 4, "tensor": 2}, "dense"),
    "stage 2 x context 2 x fsdp 2": ({"stage": 2, "context": 2, "fsdp": 2, "micro_batches": 2}, "tied"),
    "expert 2 x fsdp 4": ({"expert": 2, "fsdp": 4}, "capacity"),
}
