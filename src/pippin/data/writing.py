"""Encodes documents and writes them as token shards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pippin.data.documents import Document, in_order
from pippin.data.manifest import Shard, Split, SplitInfo
from pippin.data.tokenizer import boundary_id, encode_many, token_bytes
from pippin.errors import PippinError, explained

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def write_split(
    folder: Path,
    name: Split,
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    dtype: np.dtype[np.unsignedinteger],
    max_shard_tokens: int,
) -> SplitInfo:
    """Writes `NAME-00000.bin`, ... : for each document, by id, a boundary and its tokens.

    Raises:
        PippinError: the tokenizer does not give a document back byte for byte, or the disk refused.
    """
    writer = _ShardWriter(folder, name, dtype, max_shard_tokens)
    table = token_bytes(tokenizer)
    ordered = in_order(documents)
    boundary = boundary_id(tokenizer)
    utf8_bytes = 0
    for document, ids in zip(ordered, encode_many(tokenizer, (d.text for d in ordered)), strict=True):
        raw = document.text.encode()
        # Our own tokenizer always passes; one that a user brings may normalise, or lack a byte.
        if (ids == boundary).any() or b"".join([table[i] for i in ids.tolist()]) != raw:
            raise PippinError(
                f'the tokenizer is not lossless: it changes document "{document.id}"',
                fix="use a byte-level tokenizer without a normaliser",
            )
        writer.add(np.concatenate([[boundary], ids]))
        utf8_bytes += len(raw)
    shards = writer.close()
    return SplitInfo(
        documents=len(ordered),
        groups=len({document.group for document in ordered}),
        tokens=sum(shard.tokens for shard in shards),
        utf8_bytes=utf8_bytes,
        shards=shards,
    )


class _ShardWriter:
    """Spreads one stream over files of at most `max_tokens` each; a document may lie across two."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype[np.unsignedinteger], max_tokens: int) -> None:
        self._folder, self._name, self._dtype, self._max_tokens = folder, name, dtype, max_tokens
        self._shards: list[Shard] = []
        self._waiting: list[npt.NDArray[np.integer]] = []
        self._num_waiting = 0

    def add(self, ids: npt.NDArray[np.integer]) -> None:
        self._waiting.append(ids.astype(self._dtype))
        self._num_waiting += len(ids)
        if self._num_waiting >= self._max_tokens:
            stream = np.concatenate(self._waiting)
            num_full = len(stream) // self._max_tokens
            for ids_of_shard in np.split(stream[: num_full * self._max_tokens], num_full):
                self._write(ids_of_shard)
            self._waiting = [stream[num_full * self._max_tokens :]]
            self._num_waiting = len(self._waiting[0])

    def close(self) -> tuple[Shard, ...]:
        if self._num_waiting:
            self._write(np.concatenate(self._waiting))
        return tuple(self._shards)

    def _write(self, ids: npt.NDArray[np.integer]) -> None:
        path = self._folder / f"{self._name}-{len(self._shards):05d}.bin"
        raw = ids.tobytes()
        with explained(path):
            path.write_bytes(raw)
        sha256 = hashlib.sha256(raw).hexdigest()
        self._shards.append(Shard(file=path.name, tokens=len(ids), sha256=sha256))
