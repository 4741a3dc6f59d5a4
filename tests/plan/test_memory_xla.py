"""The memory model's description of our own trainer, against what XLA says of compiled steps."""

from __future__ import annotations

import pytest

from pippin.job import make_job
from pippin.plan.framework import PIPPIN
from pippin.plan.layout import single
from pippin.plan.memory import memory
from pippin.plan.shape import Shapes
from pippin.train.step import Choices, Program


@pytest.mark.parametrize(
    ("model", "batch", "length", "scan"),
    [
        ({"preset": "pippin-3m", "num_layers": 1}, 4, 128, False),
        ({"preset": "pippin-3m", "vocab_size": 1024}, 16, 128, False),
        ({"preset": "pippin-5m", "num_layers": 6, "vocab_size": 2048}, 16, 128, True),
    ],
)
def test_within_a_fifth_of_what_the_compiler_reserves(
    model: dict[str, object], batch: int, length: int, scan: bool
) -> None:
    job = make_job({"model": model, "train": {"steps": 1, "batch_size": batch, "sequence_length": length}})
    program = Program(job, Choices(compute_dtype="float32", attention="reference", scan_layers=scan))
    found = program._step.memory_analysis()
    compiled = found.argument_size_in_bytes + found.temp_size_in_bytes
    compiled += found.output_size_in_bytes - found.alias_size_in_bytes
    layout = single(micro_batch=batch, global_batch=batch, sequence_length=length, flash=True)
    planned = memory(Shapes.of(job.shape), layout, PIPPIN).total[0]
    assert planned == pytest.approx(compiled, rel=0.2)
