"""Runs in a process of its own with 8 virtual CPU devices: one run under several layouts in turn.

`layouts_child.py FOLDER`: an orchard of text in it, two runs of the same job out of it. One stays on one
layout; the other is stopped three times and goes on under another mesh.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from pippin.job import Job, make_job
from pippin.train.loop import train
from pippin.train.observer import RecordingObserver, StepReport

STEPS = 16
MESHES: tuple[dict[str, Any], ...] = (
    {"fsdp": "rest"},
    {"fsdp": 4, "tensor": 2, "micro_batches": 2},
    {"fsdp": 2, "stage": 2, "context": 2, "micro_batches": 2},
    {"fsdp": 1, "data": 8},
)


class _Stop(RecordingObserver):
    """Ends the run as a kill does, right after a save."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._at = step

    def step(self, report: StepReport) -> None:
        super().step(report)
        if report.step == self._at + 1:
            raise SystemExit


def job(corpus: Path, mesh: dict[str, Any]) -> Job:
    shape = {"d_model": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 2, "ffn_dim": 48}
    return make_job(
        {
            "model": shape,
            "data": {"corpus": str(corpus), "vocab_size": 320, "validation_fraction": 0.15},
            "train": {"steps": STEPS, "batch_size": 8, "sequence_length": 32, "learning_rate": 1e-2},
            "mesh": mesh,
            "run": {"checkpoint_every_steps": 4},
            "chip": {"compute_dtype": "float32", "scan_layers": True},
        }
    )


def main(folder: Path) -> None:
    corpus = folder / "orchard"
    train(job(corpus, MESHES[0]), folder / "stayed")
    for place, mesh in enumerate(MESHES):
        last = place == len(MESHES) - 1
        try:
            train(job(corpus, mesh), folder / "moved", None if last else _Stop(4 * (place + 1)))
        except SystemExit:
            continue
    sys.stdout.write(json.dumps({"done": True}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
