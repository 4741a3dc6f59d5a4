"""Opens a corpus by name or path, and holds a part of it out for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pippin.data import sotu
from pippin.data.documents import Corpus, Document
from pippin.data.files import open_path
from pippin.errors import PippinError, explained, nearest

__all__ = ["Corpus", "Document", "open_corpus", "split"]


def open_corpus(spec: str) -> Corpus:
    """The corpus called "sotu", or the text file, JSONL file or folder at the path `spec`.

    Raises:
        PippinError: no such thing, or it has no text or text that cannot be read.
    """
    if spec == sotu.NAME:
        return sotu.open_sotu()
    path = _existing(spec)
    if path is None:
        near = nearest(spec, [sotu.NAME])
        fix = f'did you mean "{near}"?' if near else 'name a text file, a JSONL file, a folder, or "sotu"'
        raise PippinError(f'there is no corpus "{spec}", and no such file or folder', fix=fix)
    return open_path(path)


def _existing(spec: str) -> Path | None:
    with explained(spec):
        try:
            path = Path(spec).expanduser()
            return path if spec and path.exists() else None
        except (RuntimeError, ValueError):
            # No such user's home, or a NUL in the path.
            return None


def split(corpus: Corpus, validation_fraction: float) -> tuple[list[Document], list[Document]]:
    """Train and validation documents, in the corpus's order.

    A group goes to validation when the hash of its name, mapped to [0, 1), is below the fraction: which
    side it is on does not change when the corpus grows. Groups that share an identical document go as
    one, under the smallest of their names. Neither side is ever empty: where no hash decides it so, the
    smallest goes to validation or the largest to train.

    Raises:
        PippinError: the fraction is not between 0 and 1, or all documents would go as one.
    """
    if not 0 < validation_fraction < 1:
        raise PippinError(f"validation_fraction must lie between 0 and 1, not {validation_fraction}")
    bundles = _bundles(corpus.documents)
    ordered = sorted(set(bundles.values()), key=_hash64)
    if len(ordered) < 2:
        raise PippinError(
            "at least two different documents (or groups of them) are needed, one of them for validation",
            where=corpus.name,
            fix="add text",
        )
    num_below = sum(_hash64(name) < validation_fraction * 2**64 for name in ordered)
    held_out = set(ordered[: min(max(num_below, 1), len(ordered) - 1)])
    train = [d for d in corpus.documents if bundles[d.group] not in held_out]
    validation = [d for d in corpus.documents if bundles[d.group] in held_out]
    return train, validation


def _hash64(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _bundles(documents: Iterable[Document]) -> dict[str, str]:
    """For each group the smallest name among those tied to it by identical documents (union-find)."""
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        parent.setdefault(group, group)
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first_with: dict[str, str] = {}
    for document in documents:
        twin = first_with.setdefault(document.text, document.group)
        small, large = sorted((root(document.group), root(twin)))
        parent[large] = small
    return {group: root(group) for group in list(parent)}
