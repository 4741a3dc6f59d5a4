"""What a corpus is: named documents with their origin, and the hashes that tell corpora apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text. Documents of one `group` are related and stay on the same side of the split."""

    id: str
    group: str
    text: str


@dataclass(frozen=True)
class Corpus:
    """Documents with what must be said about where they come from."""

    name: str
    licence: str
    source: str
    documents: tuple[Document, ...]


def in_order(documents: Iterable[Document]) -> list[Document]:
    """The documents by id, which is the order of the token stream; equal ids keep their order."""
    return sorted(documents, key=lambda document: document.id)


def documents_sha256(documents: Iterable[Document]) -> str:
    """Hash of ids, groups and texts, in stream order. Lengths go in too, so that no two lists collide."""
    return _sha256(field for d in in_order(documents) for field in (d.id, d.group, d.text))


def texts_sha256(documents: Iterable[Document]) -> str:
    """Hash of the texts alone, in stream order: all that a tokenizer trained on them depends on."""
    return _sha256(document.text for document in in_order(documents))


def _sha256(fields: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for field in fields:
        raw = field.encode()
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()
