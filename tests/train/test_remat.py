"""Computing again in backward saves memory, by the compiler's own account."""

from __future__ import annotations

from typing import Any

from pippin.job import Job, make_job
from pippin.train.setup import find_machine
from pippin.train.step import Program


def _job(remat: str, **chip: Any) -> Job:
    # Wide rows and few parameters: what is kept for backward outweighs all else.
    shape = {"d_model": 64, "num_layers": 4, "num_heads": 2, "num_kv_heads": 1, "ffn_dim": 256}
    train = {"steps": 4, "batch_size": 8, "sequence_length": 128}
    model = shape | {"vocab_size": 256}
    return make_job({"model": model, "train": train, "mesh": {"remat": remat}, "chip": chip})


def _temporary_bytes(job: Job) -> int:
    program = Program(job, find_machine(job).choices, compiled=False)
    size: int = program.lower().compile().memory_analysis().temp_size_in_bytes
    return size


def test_full_keeps_little_more_than_half() -> None:
    full, none = _temporary_bytes(_job("full")), _temporary_bytes(_job("none"))
    assert full < 0.65 * none, (full, none)


def test_a_stated_choice_stands() -> None:
    assert not find_machine(_job("full", scan_layers=False)).choices.scan_layers
