"""Safetensors files, an array at a time: eight bytes of length, a JSON header, then the arrays.

The library of that name wants a whole file's arrays at once; a shard of a large model is gigabytes. A test
holds that it reads what is written here, and the other way about.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from pippin.errors import PippinError, explained

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
# What the library allows (100 MB), so that a damaged length does not ask for all memory.
_MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Entry:
    """Where one array lies in a file; `start` counts from the file's first byte."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    def read(self) -> np.ndarray:
        """The array, read only, through a memory map: pages are read as they are used."""
        with explained(self.path):
            return np.memmap(self.path, DTYPES[self.dtype], "r", self.start, self.shape)


def read_header(path: Path) -> dict[str, Entry]:
    """What a file holds, checked against its size.

    Raises:
        PippinError: not such a file, cut short, or with arrays of another type than F32, F16, BF16.
    """
    with explained(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
                raise _damaged(path, f"{size:,} bytes, with a header said to have {length:,}")
            raw = file.read(length)
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        entries = {name: _entry(path, fields, 8 + length) for name, fields in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "its header cannot be read") from error
    _check_spans(path, entries, 8 + length, size)
    return entries


def _entry(path: Path, fields: Mapping[str, Any], data_start: int) -> Entry:
    start, stop = fields["data_offsets"]
    shape = tuple(fields["shape"])
    if not all(type(number) is int and number >= 0 for number in (start, stop, *shape)):
        raise ValueError("not a place in a file")
    return Entry(path, str(fields["dtype"]), shape, data_start + start, stop - start)


def _check_spans(path: Path, entries: Mapping[str, Entry], data_start: int, size: int) -> None:
    """The arrays must fill the rest of the file, one after the other."""
    expected = data_start
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.dtype not in DTYPES:
            known = ", ".join(DTYPES)
            raise PippinError(f"{name} is of type {entry.dtype}", where=path, fix=f"known: {known}")
        wanted = math.prod(entry.shape) * DTYPES[entry.dtype].itemsize
        if entry.start != expected or entry.num_bytes != wanted:
            raise _damaged(path, f"{name} is not where its header says")
        expected += wanted
    if expected != size:
        raise _damaged(path, f"{size:,} bytes, but its header tells of {expected:,}")


def _damaged(path: Path, why: str) -> PippinError:
    return PippinError(f"not a whole safetensors file: {why}", where=path, fix="fetch or export it again")


@dataclass(frozen=True)
class Array:
    """One array to be written: its name, its shape, and what makes it when its turn comes."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], np.ndarray]


def write_file(path: Path, arrays: list[Array], dtype: str) -> Iterator[int]:
    """Writes arrays one after the other, cast to `dtype` ("float32", "bfloat16", "float16"), and yields the
    bytes of each once it is written.

    Raises:
        PippinError: the disk is full, or refuses.
    """
    kind, itemsize = _NAMES[dtype], DTYPES[_NAMES[dtype]].itemsize
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for array in arrays:
        stop = offset + math.prod(array.shape) * itemsize
        header[array.name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, stop]}
        offset = stop
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)  # arrays begin at a multiple of 8
    with explained(path), path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for array in arrays:
            values = np.ascontiguousarray(array.make(), dtype=DTYPES[kind])
            assert values.shape == array.shape, array.name
            file.write(values.data if kind != "BF16" else values.view(np.uint16).data)
            yield values.nbytes
