from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pippin.data.corpus import Corpus, open_corpus
from pippin.data.shards import Dataset, build

WORDS = [
    "apple",
    "seed",
    "orchard",
    "1790",
    "naïve",
    "café,",
    "the",
    "of",
    "and",
    "to.",
    "Grow—it's",
    "雨",
    "🍎",
]
SPACES = [" ", " ", " ", " ", "  ", "\t", "\n", "\n\n", "\r\n"]


def some_text(seed: int, num_words: int) -> str:
    """Words in a random order, the same for the same seed."""
    generator = random.Random(seed)
    return "".join(generator.choice(WORDS) + generator.choice(SPACES) for _ in range(num_words))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus folder of 20 text files of different lengths."""
    root = tmp_path / "orchard"
    for number in range(20):
        path = root / f"row{number % 3}" / f"tree{number:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some_text(number, 20 + 37 * number).encode())
    return root


@pytest.fixture
def build_folder(folder: Path, tmp_path: Path) -> Callable[..., Dataset]:
    """Builds the dataset of `folder` in a cache of its own."""

    def make(**options: object) -> Dataset:
        settings = {"vocab_size": 300, "validation_fraction": 0.3, "cache_dir": tmp_path / "cache", **options}
        return build(str(folder), **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def sotu() -> Corpus:
    return open_corpus("sotu")


@pytest.fixture(scope="session")
def sotu_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build("sotu", cache_dir=tmp_path_factory.mktemp("cache"))
