"""Runs in a process of its own: compiles sharded steps for a TPU that is not there, with libtpu."""

from __future__ import annotations

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")

import jax
from jax.experimental import topologies

from pippin.job import make_job
from pippin.train.step import Choices, Program

from hlo import kinds  # isort: skip
from layouts import LENGTH, ROWS, shape_of  # isort: skip

TOPOLOGY = "v5e:2x4"


def main() -> None:
    jax.config.update("jax_default_prng_impl", "rbg")
    devices = topologies.get_topology_desc(TOPOLOGY, platform="tpu").devices
    train = {"steps": 4, "batch_size": ROWS, "sequence_length": LENGTH}
    mesh = {"fsdp": 4, "tensor": 2}
    job = make_job({"model": shape_of("dense"), "train": train, "mesh": mesh})
    program = Program(job, Choices("float32", "reference", True), compiled=False, devices=devices)
    text = program.lower().compile().as_text()
    found = sorted([kind, *axes] for kind, axes in kinds(text, program.degrees.sizes))
    sys.stdout.write(json.dumps({"topology": TOPOLOGY, "kinds": found}) + "\n")


if __name__ == "__main__":
    main()
