"""Reads a dataset folder: its manifest, and the token stream through memory maps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pippin.data.manifest import Manifest, Shard, Split, read_manifest
from pippin.data.tokenizer import parse_tokenizer, token_bytes
from pippin.errors import PippinError, explained
from pippin.storage import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
HASH_AT_OPEN_BYTES = 256 << 20
"""Below this size all shards are hashed when a dataset is opened (0.2 s at most, measured)."""
SPLITS: tuple[Split, ...] = ("train", "validation")

Ids = npt.NDArray[np.unsignedinteger]


class Tokens:
    """The token stream of one split, over its shards: `len()`, and `tokens[a:b]` as an array of its own."""

    def __init__(self, shards: list[Ids]) -> None:
        self._shards = shards
        self._starts = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, where: slice) -> Ids:
        """Tokens of a slice with step 1, read from the files that hold them only."""
        start, stop, step = where.indices(len(self))
        if step != 1:
            raise ValueError("only slices with step 1")
        return self._range(start, max(start, stop))

    def rows(self, starts: npt.NDArray[np.int64], length: int) -> Ids:
        """Array (len(starts), length): the tokens from each start on. All must lie within the stream."""
        if len(starts) and (starts.min() < 0 or starts.max() + length > len(self)):
            raise IndexError(f"rows of {length} tokens reach outside of a stream of {len(self)}")
        return np.stack([self._range(int(start), int(start) + length) for start in starts])

    def positions_of(self, token: int) -> npt.NDArray[np.int64]:
        """Every position at which `token` stands."""
        found = [np.flatnonzero(shard == token) for shard in self._shards]
        return np.concatenate([at + start for at, start in zip(found, self._starts, strict=False)])

    def _range(self, start: int, stop: int) -> Ids:
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        parts: list[Ids] = []
        for number in range(min(first, len(self._shards) - 1), len(self._shards)):
            offset = int(self._starts[number])
            if offset >= stop and parts:
                break
            parts.append(self._shards[number][max(start - offset, 0) : max(stop - offset, 0)])
        return np.concatenate(parts)


class Dataset:
    """A dataset on disk. Its files stay readable even if another process replaces the folder.

    Attributes:
        folder: where it lies.
        manifest: what it is.
        sha256: the manifest's hash, which stands for the whole dataset.
        vocab_size: of the tokenizer as it is, which may be less than was asked for.
        tokenizer_json: the tokenizer's file.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the folder and checks it: manifest and tokenizer by hash, shards by size, and by hash too
        where they are less than 256 MB together.

        Raises:
            PippinError: a file is missing, cut short or altered; names the file.
        """
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self.sha256: str = self.manifest.sha256
        self.vocab_size: int = self.manifest.vocab_size
        self.tokenizer_json: bytes = self._read_tokenizer()
        self._tokens = {split: self._open_tokens(split) for split in SPLITS}
        if sum(len(tokens) for tokens in self._tokens.values()) * self._dtype.itemsize < HASH_AT_OPEN_BYTES:
            self.verify()

    def tokens(self, split: Split) -> Tokens:
        """The stream of a split: for each document, by id, a boundary and its tokens."""
        return self._tokens[split]

    def documents(self, split: Split) -> Iterator[Ids]:
        """The ids of one document after the other, without the boundary."""
        tokens = self.tokens(split)
        starts = tokens.positions_of(self.manifest.boundary_id)
        for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
            yield tokens[int(start) + 1 : int(stop)]

    def text(self, split: Split) -> bytes:
        """The UTF-8 of the split's documents, joined with nothing between them, exactly as they came."""
        table = token_bytes(self.tokenizer())
        return b"".join(b"".join([table[i] for i in ids.tolist()]) for ids in self.documents(split))

    def tokenizer(self) -> Tokenizer:
        return parse_tokenizer(self.tokenizer_json, self.folder / TOKENIZER_FILE)

    def verify(self) -> None:
        """Hashes every shard.

        Raises:
            PippinError: the bytes of a shard are not those that were written.
        """
        for split in SPLITS:
            for shard in self.manifest.split(split).shards:
                path = self.folder / shard.file
                with explained(path):
                    sha256 = sha256_file(path)
                if sha256 != shard.sha256:
                    raise PippinError("the shard is damaged: its SHA-256 does not fit", where=path)

    @property
    def _dtype(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(self.manifest.dtype).newbyteorder("<")

    def _read_tokenizer(self) -> bytes:
        path = self.folder / TOKENIZER_FILE
        with explained(path):
            raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != self.manifest.tokenizer_sha256:
            raise PippinError("the tokenizer is damaged: its SHA-256 does not fit", where=path)
        return raw

    def _open_tokens(self, split: Split) -> Tokens:
        info = self.manifest.split(split)
        tokens = Tokens([self._open_shard(shard) for shard in info.shards])
        if len(tokens) != info.tokens:
            what = f"the shards of {split} have {len(tokens)} tokens, not {info.tokens}"
            raise PippinError(what, where=self.folder)
        return tokens

    def _open_shard(self, shard: Shard) -> Ids:
        path, wanted = self.folder / shard.file, shard.tokens * self._dtype.itemsize
        with explained(path):
            found = path.stat().st_size
            if found != wanted:
                raise PippinError(f"the shard is damaged: {found} bytes, not {wanted}", where=path)
            return np.memmap(path, dtype=self._dtype, mode="r")
