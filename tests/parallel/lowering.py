"""Runs in a process of its own with 8 virtual CPU devices: sharded steps lowered for every target."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax

from pippin.job import make_job
from pippin.train.step import Choices, Program

from layouts import LENGTH, LOWERED, ROWS, shape_of  # isort: skip

PLATFORMS = ("cpu", "cuda", "tpu", "neuron")
# AWS Neuron's known issues with JAX, as in tests/train/test_portable.py.
FORBIDDEN = r"stablehlo\.(case|if|custom_call|fft|infeed|outfeed|send|recv|complex)\b|three_fry|chlo\.top_k"


def lowered(program: Program, platform: str) -> str:
    """The step's StableHLO for a platform, without source locations."""
    step = jax.jit(program._update, donate_argnums=0, out_shardings=(program.shardings, None))
    tokens, rate = program._tokens, jax.ShapeDtypeStruct((), jax.numpy.float32)
    exported = jax.export.export(step, platforms=[platform])(
        program.state_shapes, tokens, tokens, tokens, rate
    )
    text = re.sub(r"\bloc\(.*?\)|#loc.*", "", exported.mlir_module())
    return re.sub(r"_platforms?_index\S*|platforms? = \[.*?\]", "", text)


def main() -> None:
    jax.config.update("jax_default_prng_impl", "rbg")
    for name, (mesh, kind) in LOWERED.items():
        train: dict[str, Any] = {"steps": 4, "batch_size": ROWS, "sequence_length": LENGTH}
        job = make_job({"model": shape_of(kind), "train": train, "mesh": {"fsdp": 1} | mesh})
        program = Program(job, Choices("bfloat16", "reference", True), compiled=False)
        texts = {platform: lowered(program, platform) for platform in PLATFORMS}
        found = {
            "case": name,
            "sha256": {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()},
            "forbidden": sorted({match[0] for match in re.finditer(FORBIDDEN, texts["neuron"])}),
            "collectives": len(re.findall(r"stablehlo\.(all_gather|reduce_scatter)", texts["neuron"])),
        }
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
