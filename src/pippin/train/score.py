"""The held-out score of what a run has saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pippin.job import apply_overrides, make_job
from pippin.train.checkpoint import to_device
from pippin.train.evaluate import bits_per_byte
from pippin.train.observer import Observer
from pippin.train.run import TOKENIZER
from pippin.train.saved import open_saved
from pippin.train.setup import build_data, find_machine
from pippin.train.step import Program


@dataclass(frozen=True)
class Score:
    """Bits per byte of the validation text, and what it was measured on."""

    step: int
    bits_per_byte: float
    corpus: str
    data_sha256: str
    validation_bytes: int
    validation_tokens: int
    sequence_length: int
    compute_dtype: str


def score(
    run: Path, corpus: str | None = None, overrides: Sequence[str] = (), observer: Observer | None = None
) -> Score:
    """Scores the newest checkpoint with the run's own tokenizer, by the function that training uses.

    Args:
        run: the folder of a run or of an imported model.
        corpus: another corpus than the job's, of which the held-out part is scored.
        overrides: `table.key=value`; of the shape nothing may change.
        observer: told how far it is.

    Raises:
        PippinError: no run there, or the corpus cannot be read with its tokenizer.
    """
    observer = observer or Observer()
    observer.phase(f"reading {run}")
    saved = open_saved(run)
    tables = saved.job.model_dump(exclude_none=True)
    tables["data"] |= {"tokenizer": str(run / TOKENIZER)} | ({} if corpus is None else {"corpus": corpus})
    tables = apply_overrides(tables, overrides)
    job = make_job(tables, where="the run's job")
    dataset = build_data(job, observer)
    machine = find_machine(job)
    observer.phase("compiling")
    program = Program(job, machine.choices, training=False)
    observer.phase("scoring")
    bits = bits_per_byte(program, to_device(saved.parameters), dataset, progress=observer.progress)
    held_out = dataset.manifest.splits.validation
    return Score(
        step=saved.step,
        bits_per_byte=bits,
        corpus=dataset.manifest.name,
        data_sha256=dataset.sha256,
        validation_bytes=held_out.utf8_bytes,
        validation_tokens=held_out.tokens - held_out.documents,
        sequence_length=job.train.sequence_length,
        compute_dtype=machine.choices.compute_dtype,
    )
