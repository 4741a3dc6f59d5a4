"""Runs in a process of its own with 8 virtual CPU devices: the collectives of compiled steps."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax

from pippin.job import make_job
from pippin.parallel import rules
from pippin.train.step import Choices, Program

from hlo import volumes  # isort: skip
from layouts import EXCHANGES, FROM_BYTES, LENGTH, ROWS, shape_of  # isort: skip


def compiled(mesh: dict[str, Any], kind: str) -> dict[str, int]:
    """The whole step with AdamW: bytes by kind and axes, as `kind axis axis`."""
    train = {"steps": 4, "batch_size": ROWS, "sequence_length": LENGTH, "z_loss": 1e-2}
    job = make_job({"model": shape_of(kind), "train": train, "mesh": {"fsdp": 1} | mesh})
    program = Program(job, Choices("float32", "reference", True), compiled=False)
    text = program.lower().compile().as_text()
    found = volumes(text, program.degrees.sizes, from_bytes=FROM_BYTES)
    return {" ".join((kind, *axes)): size for (kind, axes), size in found.items()}


def main() -> None:
    jax.config.update("jax_default_prng_impl", "rbg")
    for name, (mesh, kind) in EXCHANGES.items():
        tell(name, compiled(mesh, kind))
    # A rule broken on purpose: matrices that fsdp, or tensor, no longer splits.
    for axis, name in (("ffn", "broken: ffn"), ("embed", "broken: embed")):
        kept = rules.RULES.pop(axis)
        tell(name, compiled(*EXCHANGES["fsdp 4 x tensor 2"]))
        rules.RULES[axis] = kept


def tell(name: str, found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"case": name, "volumes": found}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
