"""Safetensors files: the library of that name is the judge, and a damaged file is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.errors import PippinError
from pippin.export.safetensors_file import Array, read_header, write_file

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "b.weight": np.linspace(-3, 3, 5, dtype=np.float32),
    "é": np.float32([[[1.5]]]),
}


def write(path: Path, dtype: str = "float32", arrays: dict[str, np.ndarray] | None = None) -> Path:
    every = ARRAYS if arrays is None else arrays
    listed = [Array(name, value.shape, lambda value=value: value) for name, value in every.items()]
    assert len(list(write_file(path, listed, dtype))) == len(every)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path, dtype: str) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="needs safetensors: pip install safetensors")
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    theirs = library.load_file(write(tmp_path / "ours.safetensors", dtype))
    library.save_file({name: value.astype(kind) for name, value in ARRAYS.items()}, tmp_path / "theirs")
    ours = {name: entry.read() for name, entry in read_header(tmp_path / "theirs").items()}
    for name, value in ARRAYS.items():
        for found in (theirs[name], ours[name]):
            assert found.dtype == kind and np.array_equal(found, value.astype(kind)), name


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(PippinError, match="not a whole safetensors file") as caught:
            read_header(tmp_path / "cut")
        assert "\n" not in str(caught.value)
    (tmp_path / "cut").write_bytes(whole + b"\0")
    with pytest.raises(PippinError, match="not a whole safetensors file"):
        read_header(tmp_path / "cut")


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_flip_in_the_header_never_gives_other_arrays_silently(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Refused, or the same places and types under another name, which the import then misses."""
    folder = tmp_path_factory.mktemp("flip")
    whole = bytearray(write(folder / "whole").read_bytes())
    header_end = 8 + int.from_bytes(whole[:8], "little")
    right = read_header(folder / "whole")
    whole[data.draw(st.integers(0, header_end - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "flipped").write_bytes(whole)
    try:
        entries = read_header(folder / "flipped")
    except PippinError as error:
        assert "\n" not in str(error)
        return
    spans = {(entry.start, entry.num_bytes, entry.dtype) for entry in right.values()}
    assert {(entry.start, entry.num_bytes, entry.dtype) for entry in entries.values()} <= spans
    for name, entry in entries.items():
        entry.read()
        assert name not in right or entry.shape == right[name].shape


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}, "is of type I64"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "is not where its header says"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "is not where its header says"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}, "header cannot be read"),
        ({"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}, "header cannot be read"),
        ({"dtype": "F32", "shape": [2]}, "header cannot be read"),
        ([], "header cannot be read"),
    ],
)
def test_headers_that_say_what_cannot_be(tmp_path: Path, fields: Any, message: str) -> None:
    raw = json.dumps({"x": fields}).encode()
    (tmp_path / "odd").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(8))
    with pytest.raises(PippinError, match=message):
        read_header(tmp_path / "odd")
