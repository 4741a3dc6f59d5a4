"""Whether a GGUF file's header holds together: counts and lengths against the bytes that there are.

The package gguf trusts them; a flipped bit in the count of an array would keep it busy for centuries.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_STRING, _ARRAY = 8, 9
# Bytes of the scalar types by their number in the file.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_DIMS = 4


def check_structure(path: Path) -> None:
    """Walks over all keys and descriptions of arrays.

    Raises:
        ValueError: something reaches beyond the end of the file, or is of no known type.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size < 24:
            raise ValueError("it is shorter than a header")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            walk = _Walk(data)
            if data[:4] != b"GGUF":
                raise ValueError("it does not begin with GGUF")
            walk.skip(8)
            num_arrays, num_keys = walk.uint64(), walk.uint64()
            for _ in range(num_keys):
                walk.string()
                walk.value()
            for _ in range(num_arrays):
                walk.string()
                num_dims = walk.uint32()
                if num_dims > _MAX_DIMS:
                    raise ValueError(f"an array with {num_dims} dimensions")
                walk.skip(8 * num_dims + 4 + 8)


class _Walk:
    """A place in the file that only moves forward, and never beyond its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._size, self._at = data, len(data), 0

    def skip(self, num_bytes: int) -> None:
        if self._at + num_bytes > self._size:
            raise ValueError(f"its header reaches beyond its {self._size:,} bytes")
        self._at += num_bytes

    def uint32(self) -> int:
        start = self._at
        self.skip(4)
        return int(struct.unpack_from("<I", self._data, start)[0])

    def uint64(self) -> int:
        start = self._at
        self.skip(8)
        return int(struct.unpack_from("<Q", self._data, start)[0])

    def string(self) -> None:
        self.skip(self.uint64())

    def value(self) -> None:
        kind = self.uint32()
        if kind == _STRING:
            self.string()
        elif kind == _ARRAY:
            self._array()
        else:
            self.skip(_size_of(kind))

    def _array(self) -> None:
        kind, count = self.uint32(), self.uint64()
        if kind != _STRING:
            self.skip(_size_of(kind) * count)
            return
        for _ in range(count):
            self.string()


def _size_of(kind: int) -> int:
    if kind not in _SIZES:
        raise ValueError(f"a value of the unknown type {kind}")
    return _SIZES[kind]
