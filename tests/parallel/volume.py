"""What a step should exchange, from the shape and the layout alone: see docs/layouts.md.

Written from the formulas, without the code that it is held against. All arrays here are float32.
Shapes: b rows and s places of a micro-batch on a device, E width, A = b s E its stream in bytes.
"""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

WIDE = 4  # bytes
AXES = ("data", "fsdp", "expert", "stage", "context", "tensor")

Volumes = dict[tuple[str, tuple[str, ...]], int]


class Expected:
    """Bytes by kind and mesh axes.

    Args:
        shape: fields of the model's configuration.
        mesh: degrees, and `micro_batches`.
        rows, length: of the global batch.
    """

    def __init__(self, shape: dict[str, Any], mesh: dict[str, Any], rows: int, length: int) -> None:
        self.shape = shape
        self.degree = {axis: int(mesh.get(axis, 1)) for axis in AXES}
        self.parts = int(mesh.get("micro_batches", 1))
        self.rows = rows // prod(self.degree[axis] for axis in ("data", "fsdp", "expert")) // self.parts
        self.places = length // self.degree["context"]
        self.stream = self.rows * self.places * shape["d_model"] * WIDE
        self.layers = shape["num_layers"] // self.degree["stage"]
        # Ticks of a pipeline in which layers run forward, and in which they run backward.
        self.ticks = self.parts + self.degree["stage"] - 1
        self.total: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def volumes(self) -> Volumes:
        self._parameters()
        self._tensor()
        self._vocabulary()
        self._context()
        self._experts()
        self._stages()
        return {key: size for key, size in self.total.items() if size}

    def _add(self, kind: str, axes: tuple[str, ...], size: int) -> None:
        active = tuple(axis for axis in AXES if axis in axes and self.degree[axis] > 1)
        if active:
            self.total[kind, active] += size

    def _matrices(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        """Elements of a layer's parameters, and the axes that split them besides stage."""
        c = self.shape
        heads, kv = c["num_heads"] * c["head_dim"], c["num_kv_heads"] * c["head_dim"]
        matrices = {"attention": (c["d_model"] * (2 * heads + 2 * kv), ("fsdp", "tensor"))}
        if moe := c.get("moe"):
            inner = 3 * c["d_model"] * moe["ffn_dim"] * moe["num_experts"]
            matrices |= {"experts": (inner, ("fsdp", "tensor", "expert"))}
            matrices |= {"router": (c["d_model"] * moe["num_experts"], ("fsdp",))}
        else:
            matrices |= {"ffn": (3 * c["d_model"] * c["ffn_dim"], ("fsdp", "tensor"))}
        return matrices | {"norms": (2 * c["d_model"] + 2 * c["head_dim"] * c.get("qk_norm", False), ())}

    def _parameters(self) -> None:
        """Gathered for use, scattered sums of gradients over fsdp, plain sums over what replicates them."""
        pipelined = self.degree["stage"] > 1
        for size, split in self._matrices().values():
            whole = WIDE * self.layers * size // prod(self.degree[axis] for axis in split if axis != "fsdp")
            if "fsdp" in split:
                # Forward, and again backward; a pipeline's backward starts with another forward.
                self._add("gather", ("fsdp",), (3 if pipelined else 2) * self.ticks * whole)
                self._add("reduce", ("fsdp",), self.ticks * whole)
            held = whole // self.degree["fsdp"] if "fsdp" in split else whole
            self._add("reduce", tuple(axis for axis in AXES if axis not in (*split, "stage")), held)
        tables = 1 if self.shape.get("tie_embeddings", True) else 2
        table = WIDE * self.shape["vocab_size"] * self.shape["d_model"]
        table //= self.degree["stage"] * self.degree["tensor"]
        self._add("gather", ("fsdp",), tables * table)
        self._add("reduce", ("fsdp",), tables * table)
        self._add("reduce", ("data", "expert", "context"), tables * table // self.degree["fsdp"])
        self._add("reduce", AXES, WIDE * self.shape["d_model"])  # the last norm
        moe = self.shape.get("moe")
        sums = 1 + (self.layers * (2 * moe["num_experts"] + 3) if moe else 0)  # loss; routers
        self._add("reduce", ("data", "fsdp", "expert", "context"), WIDE * sums)

    def _tensor(self) -> None:
        """Two regions a layer: the stream is gathered into each and summed out of it, both ways."""
        forwards = 2 if self.degree["stage"] > 1 else 1  # a pipeline's backward starts with another forward
        passes = (forwards + 1) * self.ticks
        for kind in ("gather", "reduce"):
            self._add(kind, ("tensor",), 2 * self.layers * passes * self.stream)

    def _vocabulary(self) -> None:
        """The embedding's rows are summed, the head's input gathered; both again for their gradients."""
        shared = self.degree["stage"] > 1
        enters = self.ticks if shared else self.parts
        self._add("reduce", ("tensor",), (enters + self.parts) * self.stream)
        self._add("gather", ("tensor",), (enters + self.parts) * self.stream)
        token = WIDE * self.rows * self.places * self.parts
        self._add("reduce", ("stage", "tensor"), 3 * token)  # largest score; sum and target's score

    def _context(self) -> None:
        """Keys, values and documents go round; backward their gradients too, and home."""
        turns = self.degree["context"] - 1
        held = self.rows * self.places * self.shape["num_kv_heads"] * self.shape["head_dim"]
        both = 2 * WIDE * held // self.degree["tensor"]
        documents = WIDE * self.rows * self.places
        forwards = 2 if self.degree["stage"] > 1 else 1
        each = (forwards + 1) * turns * (both + documents) + (turns + 1) * both
        self._add("permute", ("context",), self.layers * self.ticks * each if turns else 0)

    def _experts(self) -> None:
        """Slots of all experts there and back, both ways."""
        if moe := self.shape.get("moe"):
            slots = moe["num_experts"] * self.rows * self.places * self.shape["d_model"] * WIDE
            forwards = 2 if self.degree["stage"] > 1 else 1
            self._add("all-to-all", ("expert",), 2 * (forwards + 1) * self.layers * self.ticks * slots)

    def _stages(self) -> None:
        """The stream and its gradient go on a tick; the ends are shared by all stages."""
        part = self.stream // self.degree["tensor"]
        # The last gradient goes nowhere; a last phase of one tick leaves it out.
        self._add("permute", ("stage",), (2 * self.ticks - (self.degree["stage"] == 2)) * part)
        if self.degree["stage"] > 1:
            self._add("reduce", ("stage",), self.ticks * self.stream)  # embedding
            self._add("reduce", ("stage",), self.ticks * part)  # its gradient, from the first stage
            self._add("reduce", ("stage",), 2 * self.parts * part)  # the last stage's output, its gradient
