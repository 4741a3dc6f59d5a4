"""Runs in a process of its own with 4 virtual CPU devices; what it finds goes to standard output as JSON."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from pippin.assay import collectives
from pippin.assay.hlo import RECOMPUTATION, part_of
from pippin.assay.traced import StepTraces
from pippin.job import make_job
from pippin.models.attention import BACKENDS, reference_attention
from pippin.models.attention.backends import Backend
from pippin.parallel.objective import Part
from pippin.train.setup import find_machine
from pippin.train.step import Choices, Program

TABLES: dict[str, Any] = {
    "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "ffn_dim": 48},
    "data": {"vocab_size": 320},
    "train": {"steps": 10, "batch_size": 8, "sequence_length": 32},
}
STEPS = 5


NAP_SECONDS = 0.1


def late(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, /) -> jax.Array:
    """Attention for which the first device takes longer."""
    place = jax.lax.axis_index("fsdp").astype(q.dtype)
    once_a_layer = jax.lax.stop_gradient(q[0, 0, 0, 0])
    zero = jax.pure_callback(_nap, jax.ShapeDtypeStruct((), q.dtype), place, once_a_layer)
    return reference_attention(q + zero, k, v, segments)


def _nap(place: Any, _: Any) -> Any:
    if place == 0:
        time.sleep(NAP_SECONDS)
    return np.zeros_like(place)


def divided(mesh: dict[str, Any], attention: str = "reference") -> list[dict[str, Any]]:
    """Seconds of traced steps, and of each part in them."""
    job = make_job(TABLES | {"mesh": mesh})
    program = Program(job, Choices("float32", attention, True), compiled=False)
    program._step = program.lower().compile()
    tokens = np.random.default_rng(0).integers(0, 320, (8, 33), np.int32)
    state = program.initial_state()
    ledger: Any = SimpleNamespace(span=lambda *_: nullcontext())
    with StepTraces(program, ledger, STEPS, 0.2) as traces:
        for step in range(1, STEPS + 1):
            traces.begin(step)
            state, _ = program.step(state, tokens[:, :-1], tokens[:, 1:], np.zeros((8, 32), np.int32), 0.0)
            traces.end(step)
    return [{"seconds": group.seconds, "parts": dict(group.parts)} for group in traces.traced.groups]


def computed_again(mesh: dict[str, Any]) -> int:
    """Operations of the step that are named as computed again for the backward pass."""
    program = Program(
        make_job(TABLES | {"mesh": mesh}), Choices("float32", "reference", True), compiled=False
    )
    names = set(re.findall(r'"([^"]*)"', program.lower().as_text(debug_info=True)))
    return sum(part_of(name) == RECOMPUTATION for name in names)


def multiplied(mesh: dict[str, Any], batch_size: int) -> dict[str, int]:
    """FLOPs of a device's products in the gradients, with every turn of a loop; those of the bubble apart."""
    tables = TABLES | {"mesh": mesh, "train": TABLES["train"] | {"batch_size": batch_size}}
    tables["model"] = TABLES["model"] | {"num_layers": 4}
    program = Program(make_job(tables), Choices("float32", "reference", True), compiled=False)
    tokens = jax.ShapeDtypeStruct((batch_size, 32), np.int32)
    parameters = program.state_shapes["parameters"]
    traced = jax.make_jaxpr(program.spread.gradients)(parameters, None, Part(tokens, tokens, tokens))
    found = {"bubble": 0, "other": 0}
    _add_products(traced.jaxpr, 1, "other", found)
    return found


def _add_products(jaxpr: Any, turns: int, where: str, found: dict[str, int]) -> None:
    for operation in jaxpr.eqns:
        given = operation.params
        here = "bubble" if "bubble" in str(operation.source_info.name_stack).split("/") else where
        inner = next((given[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in given), None)
        if inner is not None:
            _add_products(getattr(inner, "jaxpr", inner), turns * given.get("length", 1), here, found)
        elif operation.primitive.name == "dot_general":
            (summed, _), _ = given["dimension_numbers"]
            left, out = operation.invars[0].aval.shape, operation.outvars[0].aval.shape
            found[here] += turns * 2 * math.prod(out) * math.prod(left[dim] for dim in summed)


def moved(kind: str) -> list[float]:
    """What a collective of 4 devices makes of 0, 1, 2 ..."""
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), (collectives._AXIS,))
    spec = jax.sharding.PartitionSpec(collectives._AXIS)
    function = jax.shard_map(
        collectives.KINDS[kind].function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    size = 4 if kind in ("all-gather", "permute", "all-reduce") else 16
    return np.asarray(jax.jit(function)(np.arange(size, dtype=np.float32))).tolist()


def main() -> None:
    find_machine()  # sets the generator
    if sys.argv[1:] == ["late"]:
        BACKENDS["late"] = Backend(late, lambda use: None)
        sys.stdout.write(json.dumps(divided({"fsdp": "rest"}, "late")))
        return
    if sys.argv[1:] == ["pipeline"]:
        sys.stdout.write(json.dumps(divided({"stage": 2, "fsdp": 2, "micro_batches": 2})))
        return
    rates = collectives.measure_collectives((65536,), seconds_each=0.001)
    told = {
        "collectives": [asdict(rate) for rate in rates],
        "moved": {kind: moved(kind) for kind in collectives.KINDS},
        "fsdp": divided({"fsdp": "rest"}),
        "computed again": {
            "data": computed_again({"data": 4, "fsdp": 1}),
            "pipeline": computed_again({"stage": 2, "fsdp": 2, "micro_batches": 2}),
        },
        "multiplied": {
            "two stages": multiplied({"stage": 2, "fsdp": 2, "micro_batches": 2}, 16),
            # Twice as many micro-batches of the same size; then twice as many stages.
            "longer": multiplied({"stage": 2, "fsdp": 2, "micro_batches": 4}, 32),
            "four stages": multiplied({"stage": 4, "fsdp": 1, "micro_batches": 2}, 8),
        },
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
