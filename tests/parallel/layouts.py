"""The layouts that are compared with a single device, (mesh, kind of model, layers) by name, and the errors
that are planted."""

from __future__ import annotations

from typing import Any

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
