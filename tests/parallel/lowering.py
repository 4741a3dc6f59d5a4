"""Runs in a process of its own with 8 virtual CPU devices: sharded steps lowered for every target."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from pippin.job import make_job
from pippin.portability.limits import TARGETS
from pippin.portability.lint import lint
from pippin.portability.lowering import Module, lower_each
from pippin.train.step import Choices, Program

from layouts import LENGTH, LOWERED, ROWS, shape_of  # isort: skip

COLLECTIVES = ("stablehlo.all_gather", "stablehlo.reduce_scatter")


def main() -> None:
    for name, (mesh, kind) in LOWERED.items():
        train: dict[str, Any] = {"steps": 4, "batch_size": ROWS, "sequence_length": LENGTH}
        job = make_job({"model": shape_of(kind), "train": train, "mesh": {"fsdp": 1} | mesh})
        program = Program(job, Choices("bfloat16", "reference", True), compiled=False)
        outcomes = lower_each(program.trace, TARGETS, "rbg")
        modules = {key: each for key, each in outcomes.items() if isinstance(each, Module)}
        found = {
            "case": name,
            "sha256": {key: module.sha256 for key, module in modules.items()},
            "findings": [str(each) for key in TARGETS for each in lint(outcomes, key).findings],
            "collectives": sum(each.name in COLLECTIVES for each in modules["neuron"].operations),
        }
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
