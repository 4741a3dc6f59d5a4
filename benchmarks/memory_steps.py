"""Compiles the CPU's steps of the table in docs/projection.md anew: bytes of one device beside the count.

    python benchmarks/memory_steps.py

Minutes on two cores. Steps for TPUs are compiled by `pippin check JOB.toml --topology v5e:2x4`, or v5p:2x2x2,
with libtpu. Where the trainer has come to keep other arrays, `src/pippin/plan/data/memory_steps.csv` gets
the new bytes.
"""

from __future__ import annotations

from pippin.job import make_job
from pippin.plan.memory_steps import compiled_steps, step_rows
from pippin.train.step import Choices, Program


def step_bytes(row: dict[str, str]) -> int | None:
    """What XLA allots to a step of the table on one device of the CPU."""
    train = {"steps": 1, "batch_size": int(row["batch_size"]), "sequence_length": int(row["sequence_length"])}
    job = make_job(
        {
            "model": {"preset": row["preset"], "vocab_size": int(row["vocab_size"])},
            "train": train,
            "mesh": {"remat": row["remat"]},
        }
    )
    scan = row["remat"] != "none"  # as the chip rule has it
    return Program(job, Choices(row["compute_dtype"], "reference", scan, remat=row["remat"])).step_bytes  # type: ignore[arg-type]


if __name__ == "__main__":
    print("| step | in the table | now | counted |\n| --- | --- | --- | --- |")
    for row, step in zip(step_rows(), compiled_steps(), strict=True):
        if step.platform == "cpu":
            cells = (step.compiled_bytes, step_bytes(row) or 0, step.planned_bytes)
            print(f"| {step.id} | {' | '.join(f'{cell:,.0f}' for cell in cells)} |", flush=True)
