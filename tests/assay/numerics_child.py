"""In a process of its own: the numerics of 4 virtual CPU devices whose exchange errs, as JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax

from pippin.assay.findings import Unknown
from pippin.assay.numerics import at_hand, check, trajectories
from pippin.assay.numerics.section import numerics_section
from pippin.data.dataset import Dataset
from pippin.job import Job, make_job
from pippin.parallel.exchange import Exchange
from pippin.train.observer import Observer
from pippin.train.setup import find_machine, open_data
from pippin.train.step import Choices, Program

CHOICES = Choices("float32", "reference", True)


def job_in(folder: Path) -> Job:
    (folder / "text.txt").write_text("an apple, a pear and a plum grow in the rain. " * 400)
    return make_job(
        {
            "model": {"d_model": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "ffn_dim": 48},
            "data": {"corpus": str(folder / "text.txt"), "vocab_size": 300, "validation_fraction": 0.2},
            "train": {"steps": 4, "batch_size": 4, "sequence_length": 16},
            "mesh": {"fsdp": 2, "tensor": 2},
        }
    )


def checked(job: Job, dataset: Dataset) -> dict[str, Any]:
    """The section of the report, and the reasons of its nulls.

    The step that trains is sound. Once it is compiled, devices that should add up a norm's gradient lose a
    part of it, so that only the comparison of gradients meets the fault.
    """
    at_hand._SECONDS_OF_RUNS, at_hand._SECONDS_OF_REPEATS = 20.0, 0.1
    trajectories._MOST_STEPS = trajectories._FEWEST_STEPS
    # These run on one device, and are tested on one.
    check.operations, check.compare_update = lambda *_, **__: [], lambda *_: []
    program = Program(job, CHOICES, compiled=False)
    program._step = program.lower().compile()
    trained: Any = SimpleNamespace(state={"parameters": program.initial_state()["parameters"]})
    watch = at_hand.watch_for_errors(CHOICES)
    whole = Exchange.sum

    def short(self: Exchange, x: Any, *axes: str) -> Any:
        return whole(self, x, *axes) * (0.999 if x.ndim == 2 and self.degrees.active(*axes) else 1.0)

    Exchange.sum = short  # type: ignore[method-assign]
    found = at_hand.assay_numerics(program, trained, dataset, watch, Observer(), lambda: None)
    unknown = Unknown()
    return {"section": numerics_section(found, unknown), "unknown": unknown}


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PIPPIN_CACHE_DIR"] = folder
        job = job_in(Path(folder))
        find_machine(job)  # sets the generator
        dataset = open_data(job, Observer())
        sys.stdout.write(json.dumps(checked(job, dataset)))


if __name__ == "__main__":
    main()
