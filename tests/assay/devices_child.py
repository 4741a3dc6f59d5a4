"""Runs in a process of its own with 4 virtual CPU devices; what it finds goes to standard output as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from pippin.assay import collectives
from pippin.assay.ablations import ablations
from pippin.job import make_job
from pippin.parallel.objective import Part
from pippin.train.setup import find_machine
from pippin.train.step import Choices, Program

TABLES: dict[str, Any] = {
    "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "ffn_dim": 48},
    "data": {"vocab_size": 320},
    "train": {"steps": 10, "batch_size": 8, "sequence_length": 32},
}
TALK = ("psum", "all_gather", "reduce_scatter", "ppermute", "all_to_all")


def ablated(mesh: dict[str, Any]) -> dict[str, Any]:
    """Which programs there are, which of them speak to other devices, and one device's sum of gradients."""
    program = Program(
        make_job(TABLES | {"mesh": mesh}), Choices("float32", "reference", True), compiled=False
    )
    tokens = np.random.default_rng(0).integers(0, 320, (8, 33), np.int32)
    batch = program.spread.place(tokens[:, :-1], tokens[:, 1:], np.zeros((8, 32), np.int32))
    parameters = program.initial_state()["parameters"]
    functions = []

    def keep(function: Any, *arguments: Any) -> Any:
        functions.append((function, arguments))

    found = ablations(program.spread, parameters, None, Part(*batch), keep)
    text = [str(jax.make_jaxpr(function)(*arguments)) for function, arguments in functions]
    told: dict[str, Any] = {
        "talks": {
            name: any(word in traced for word in TALK)
            for name, traced in zip(found.programs, text, strict=True)
        },
        "missing": found.missing,
    }
    if "gradients, no communication" in found.programs:
        # The parts' gradients add up to those of the step: each device did its own part and all of it.
        whole, parts = (jax.jit(function)(*arguments)[0] for function, arguments in functions[:2])
        pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True)
        told["apart"] = max(
            float(np.max(np.abs(np.asarray(x) - np.mean(np.asarray(y), axis=0)))) for x, y in pairs
        )
    return told


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
    rates = collectives.measure_collectives((4096, 65536), seconds_each=0.001)
    told = {
        "collectives": [asdict(rate) for rate in rates],
        "moved": {kind: moved(kind) for kind in collectives.KINDS},
        "fsdp": ablated({"fsdp": "rest"}),
        "tensor": ablated({"fsdp": 2, "tensor": 2}),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
