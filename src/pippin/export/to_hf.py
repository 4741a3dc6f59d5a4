"""From a run's folder to one that transformers loads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pippin import __version__
from pippin.data.tokenizer import boundary_id
from pippin.errors import PippinError
from pippin.export.card import Verification, model_card
from pippin.export.folders import free_place
from pippin.export.hf_config import family_of, to_hf
from pippin.export.hf_source import EXPORT_RECORD, INDEX, SINGLE
from pippin.export.provenance import Provenance, provenance_of
from pippin.export.safetensors_file import Array, write_file
from pippin.export.tensors import Slot, slots
from pippin.export.tokenizer_files import hf_tokenizer_files
from pippin.models.parameters import flat_specs
from pippin.storage import new_folder, sha256_file, write_atomic, write_json
from pippin.train.digest import flatten
from pippin.train.observer import Observer
from pippin.train.saved import Saved, open_saved

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Exported:
    """What was written: its files with their SHA-256, bytes of the arrays, and how it was verified."""

    files: dict[str, str]
    array_bytes: int
    verification: Verification | None
    provenance: Provenance


def export_hf(
    run: Path,
    out: Path,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 5_000_000_000,
    verify: bool = False,
    observer: Observer | None = None,
) -> Exported:
    """Writes the newest checkpoint of `run` into the new folder `out`, whole or not at all.

    Args:
        run: the folder that `pippin train` or `pippin import` wrote.
        out: a new or empty folder.
        dtype: "float32" or "bfloat16".
        max_shard_bytes: arrays in one file, unless a single array is larger.
        verify: load the result with transformers and compare logits before it takes its name.
        observer: told how far it is.

    Raises:
        PippinError: no class of transformers computes this shape, the folder is not free, the disk is
            full, or the verification fails: then nothing is left behind.
    """
    observer = observer or Observer()
    if dtype not in DTYPE_BYTES:
        raise PippinError(
            f"{dtype!r} is not a type to export", where="--dtype", fix=f"known: {', '.join(DTYPE_BYTES)}"
        )
    free_place(out)
    observer.phase(f"reading {run}")
    saved = open_saved(run)
    family_of(saved.job.shape)
    about = provenance_of(saved)
    with new_folder(out) as folder:
        observer.phase("writing the arrays")
        array_bytes = _write_arrays(folder, saved, dtype, max_shard_bytes, observer)
        _write_settings(folder, saved, about, dtype)
        verification = _verify(folder, saved, dtype, observer) if verify else None
        write_atomic(folder / "README.md", model_card(saved, about, dtype, verification, out.name))
        files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
        record = {"pippin": __version__, "dtype": dtype, **about.as_json(), "files": files}
        write_json(folder / EXPORT_RECORD, record)
    return Exported(files, array_bytes, verification, about)


def _write_settings(folder: Path, saved: Saved, about: Provenance, dtype: str) -> None:
    boundary, length = boundary_id(saved.tokenizer), about.max_positions
    config = to_hf(saved.job.shape, max_positions=length, boundary_id=boundary, dtype=dtype)
    write_json(folder / "config.json", config)
    ends = {"bos_token_id": boundary, "eos_token_id": boundary, "pad_token_id": boundary}
    write_json(folder / "generation_config.json", {"_from_model_config": True, **ends})
    for name, content in hf_tokenizer_files(saved.tokenizer, length).items():
        write_atomic(folder / name, content)


def _write_arrays(folder: Path, saved: Saved, dtype: str, max_shard_bytes: int, observer: Observer) -> int:
    """Writes the shards, and an index where there is more than one; returns the bytes of all arrays."""
    config, flat = saved.job.shape, flatten(saved.parameters)
    every = list(slots(config, family_of(config).names))
    shards = split_into_shards(every, DTYPE_BYTES[dtype], max_shard_bytes)
    done = total = 0
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for num_bytes in write_file(folder / name, [_array(slot, flat) for slot in shard], dtype):
            done, total = done + 1, total + num_bytes
            observer.progress(done, len(every))
        weight_map |= {slot.name: name for slot in shard}
    if len(shards) > 1:
        count = sum(spec.size for spec in flat_specs(config).values())
        metadata = {"total_size": total, "total_parameters": count}
        write_json(folder / INDEX, {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))})
    return total


def _array(slot: Slot, flat: Mapping[str, Any]) -> Array:
    return Array(slot.name, slot.shape, partial(slot.theirs, flat))


def split_into_shards(every: list[Slot], itemsize: int, max_shard_bytes: int) -> list[list[Slot]]:
    """Arrays in their order, as many in a shard as fit; one that does not fit has a shard of its own."""
    shards: list[list[Slot]] = [[]]
    held = 0
    for slot in every:
        size = math.prod(slot.shape) * itemsize
        if shards[-1] and held + size > max_shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(slot)
        held += size
    return shards


def _verify(folder: Path, saved: Saved, dtype: str, observer: Observer) -> Verification:
    from pippin.export.verify import verify_with_transformers

    observer.phase("verifying with transformers")
    return verify_with_transformers(folder, saved, dtype)


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `200 MB`, `1GiB` or a plain number.

    Raises:
        PippinError: it is no size.
    """
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
    compact = text.strip().lower().replace(" ", "")
    number = compact.rstrip("bkmgi")
    try:
        size = float(number) * units[compact[len(number) :]]
    except (ValueError, KeyError) as error:
        raise PippinError(f"{text!r} is not a size", where="--max-shard-size", fix="as in 5GB") from error
    if not 1 <= size < 2**63:
        raise PippinError(f"{text!r} is not a size of at least a byte", where="--max-shard-size")
    return int(size)
