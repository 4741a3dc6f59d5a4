"""Datasets on disk: nothing lost on the way, nothing damaged ever used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pippin.data.cache import cache_folder
from pippin.data.corpus import open_corpus, split
from pippin.data.dataset import SPLITS, Dataset
from pippin.data.documents import in_order
from pippin.data.shards import build
from pippin.data.tokenizer import encode
from pippin.errors import PippinError

Build = Callable[..., Dataset]


def stream(dataset: Dataset, name: str) -> np.ndarray:
    return dataset.tokens(name)[:]  # type: ignore[index, arg-type]


def test_stream_is_boundary_and_tokens_of_each_document_by_id(build_folder: Build, folder: Path) -> None:
    dataset = build_folder()
    sides = split(open_corpus(str(folder)), 0.3)
    for name, documents in zip(SPLITS, sides, strict=True):
        tokenizer = dataset.tokenizer()
        wanted = [np.concatenate([[0], encode(tokenizer, d.text)]) for d in in_order(documents)]
        assert np.array_equal(stream(dataset, name), np.concatenate(wanted))
        assert [ids.tolist() for ids in dataset.documents(name)] == [ids[1:].tolist() for ids in wanted]
        assert dataset.text(name) == "".join(d.text for d in in_order(documents)).encode()
        info = dataset.manifest.split(name)
        assert (info.documents, info.groups) == (len(documents), len({d.group for d in documents}))
        assert info.tokens == len(dataset.tokens(name)) == sum(map(len, wanted))
        assert info.utf8_bytes == len(dataset.text(name))


def test_sotu_round_trip(sotu_dataset: Dataset) -> None:
    train, validation = split(open_corpus("sotu"), sotu_dataset.manifest.validation_fraction)
    assert sotu_dataset.vocab_size == 8192
    assert sotu_dataset.text("train") == "".join(d.text for d in in_order(train)).encode()
    assert sotu_dataset.text("validation") == "".join(d.text for d in in_order(validation)).encode()
    info = sotu_dataset.manifest.split("validation")
    assert 4.5 < info.utf8_bytes / info.tokens < 5.2


def test_a_tokenizer_with_its_own_boundary(build_folder: Build, tmp_path: Path) -> None:
    """As one that was imported: another token starts a document, and its id is not 0."""
    from tokenizers import AddedToken, processors

    ours = build_folder()
    other = ours.tokenizer()
    other.add_special_tokens([AddedToken("<s>", special=True)])
    start = other.token_to_id("<s>")
    other.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    other.save(str(tmp_path / "tokenizer.json"))
    dataset = build_folder(tokenizer_path=str(tmp_path / "tokenizer.json"))
    assert dataset.manifest.boundary_id == start > 0
    for name in SPLITS:
        ids = stream(ours, name)
        assert np.array_equal(stream(dataset, name), np.where(ids == 0, start, ids))
        assert dataset.text(name) == ours.text(name)


@pytest.mark.parametrize("max_shard_tokens", [11, 97, 1000])
def test_many_shards_are_one_stream(build_folder: Build, max_shard_tokens: int) -> None:
    whole, parts = build_folder(), build_folder(max_shard_tokens=max_shard_tokens)
    for name in SPLITS:
        tokens, expected = parts.tokens(name), stream(whole, name)
        shards = parts.manifest.split(name).shards
        assert len(shards) == -(-len(expected) // max_shard_tokens) > 1
        assert all(shard.tokens == max_shard_tokens for shard in shards[:-1])
        assert np.array_equal(tokens[:], expected)
        generator = np.random.default_rng(0)
        for start, stop in generator.integers(-len(expected), 2 * len(expected), (200, 2)):
            assert np.array_equal(tokens[start:stop], expected[start:stop])
        starts = generator.integers(0, len(expected) - 20, 10)
        assert np.array_equal(tokens.rows(starts, 20), np.stack([expected[s : s + 20] for s in starts]))
        assert parts.text(name) == whole.text(name)
        assert [d.tolist() for d in parts.documents(name)] == [d.tolist() for d in whole.documents(name)]


def test_slices_are_copies_and_out_of_range_is_refused(build_folder: Build) -> None:
    tokens = build_folder().tokens("train")
    assert type(tokens[0:5]) is np.ndarray
    assert tokens[0:5].dtype == np.uint16
    with pytest.raises(ValueError, match="step 1"):
        tokens[::2]
    for start in (-1, len(tokens) - 4):
        with pytest.raises(IndexError):
            tokens.rows(np.array([start]), 5)


def test_large_vocabularies_take_four_bytes(build_folder: Build, tmp_path: Path) -> None:
    tokenizer = build_folder().tokenizer()
    spec = json.loads(tokenizer.to_str())
    spec["model"]["vocab"]["ĀĀĀ"] = 70_000
    (tmp_path / "large.json").write_text(json.dumps(spec))
    dataset = build_folder(tokenizer_path=str(tmp_path / "large.json"))
    assert dataset.manifest.dtype == "uint32"
    assert dataset.vocab_size == 70_001
    assert dataset.tokens("train")[0:5].dtype == np.uint32
    assert dataset.text("train") == build_folder().text("train")


def test_a_tokenizer_that_loses_text_is_refused(build_folder: Build, tmp_path: Path) -> None:
    from tokenizers import normalizers

    tokenizer = build_folder().tokenizer()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(tmp_path / "lower.json"))
    with pytest.raises(PippinError, match="not lossless"):
        build_folder(tokenizer_path=str(tmp_path / "lower.json"))
    with pytest.raises(PippinError, match="no such file"):
        build_folder(tokenizer_path=str(tmp_path / "none.json"))


def test_tokenizer_is_trained_on_the_training_split_only(tmp_path: Path) -> None:
    """A word of the validation text, however common there, gets no token of its own."""
    records = [{"text": f"tree {i} in the orchard " * 40, "group": f"g{i}"} for i in range(20)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    held_out = {document.group for document in split(open_corpus(str(path)), 0.3)[1]}
    for record in records:
        record["text"] += (" validationword" if record["group"] in held_out else " trainingword") * 500
    path.write_text("\n".join(map(json.dumps, records)))
    vocabulary = (
        build(str(path), vocab_size=500, validation_fraction=0.3, cache_dir=tmp_path).tokenizer().get_vocab()
    )
    assert "Ġtrainingword" in vocabulary
    assert not any("validat" in token for token in vocabulary)


def test_manifest_says_where_the_text_is_from(sotu_dataset: Dataset) -> None:
    written = json.loads((sotu_dataset.folder / "manifest.json").read_text())
    assert written["name"] == "sotu"
    assert "public domain" in written["licence"]
    assert written["sha256"] == sotu_dataset.sha256
    assert set(written["splits"]["train"]) == {"documents", "groups", "tokens", "utf8_bytes", "shards"}


def test_same_text_gives_the_same_dataset(build_folder: Build, tmp_path: Path) -> None:
    assert build_folder().sha256 == build_folder(cache_dir=tmp_path / "other").sha256
    assert build_folder().sha256 != build_folder(validation_fraction=0.5).sha256
    assert build_folder().sha256 != build_folder(vocab_size=310).sha256


def test_cache_is_used_and_placed_by_the_environment(
    build_folder: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPPIN_CACHE_DIR", str(tmp_path / "env"))
    assert cache_folder() == tmp_path / "env"
    told: list[str] = []
    first = build_folder(cache_dir=None, progress=told.append)
    assert first.folder.parent == tmp_path / "env" / "data"
    assert len(told) == 2
    assert "training a tokenizer" in told[0]
    assert "encoding orchard (20 documents)" in told[1]
    assert build_folder(cache_dir=None, progress=told.append).sha256 == first.sha256
    assert len(told) == 2
    monkeypatch.delenv("PIPPIN_CACHE_DIR")
    assert cache_folder().name == "pippin"


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [flip, truncate, empty, Path.unlink])
@pytest.mark.parametrize(
    "file", ["manifest.json", "tokenizer.json", "train-00000.bin", "validation-00001.bin"]
)
def test_damage_is_found_told_and_mended(
    build_folder: Build, harm: Callable[[Path], None], file: str
) -> None:
    sound = build_folder(max_shard_tokens=2000)
    content = {path.name: path.read_bytes() for path in sound.folder.iterdir()}
    harm(sound.folder / file)
    with pytest.raises(PippinError) as caught:
        Dataset(sound.folder)
    assert str(sound.folder) in str(caught.value)
    told: list[str] = []
    mended = build_folder(max_shard_tokens=2000, progress=told.append)
    assert "the cache is damaged and is built again" in told[0]
    assert {path.name: path.read_bytes() for path in mended.folder.iterdir()} == content
    assert [path.name for path in mended.folder.parent.iterdir()] == [mended.folder.name]


@pytest.mark.parametrize("harm", [flip, truncate, empty, Path.unlink])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer.sha256"])
def test_damaged_cached_tokenizer_is_trained_again(
    build_folder: Build, tmp_path: Path, harm: Callable[[Path], None], file: str
) -> None:
    sound = build_folder()
    (path,) = (tmp_path / "cache" / "tokenizers").glob(f"*/{file}")
    harm(path)
    told: list[str] = []
    assert build_folder(progress=told.append).sha256 == sound.sha256
    assert "the cache is damaged" in told[0]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"licence": "mine"}, "its hash does not fit"),
        ({"format_version": 0}, "format version 0"),
        ({"extra": 1}, "wrong at extra"),
        ({"splits": {}}, "wrong at splits.train"),
        ({"vocab_size": "many"}, "wrong at vocab_size"),
    ],
)
def test_altered_manifest(build_folder: Build, edit: dict[str, object], said: str) -> None:
    folder = build_folder().folder
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(PippinError, match=said):
        Dataset(folder)
    path.write_text("[]")
    with pytest.raises(PippinError, match="not a JSON object"):
        Dataset(folder)


def test_large_datasets_are_hashed_on_demand(build_folder: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build_folder().folder
    flip(folder / "train-00000.bin")
    monkeypatch.setattr("pippin.data.dataset.HASH_AT_OPEN_BYTES", 0)
    with pytest.raises(PippinError, match=r"train-00000\.bin: the shard is damaged"):
        Dataset(folder).verify()


def test_a_file_in_the_place_of_the_folder_is_replaced(build_folder: Build) -> None:
    sound = build_folder()
    sound.folder.rename(sound.folder.with_name("away"))
    sound.folder.write_text("not a folder")
    assert build_folder().sha256 == sound.sha256


def test_unusable_cache_folder(build_folder: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PippinError, match=r"a file, not a folder .set PIPPIN_CACHE_DIR"):
        build_folder(cache_dir=tmp_path / "file")


def test_what_killed_builds_left_is_swept_after_a_day(build_folder: Build, tmp_path: Path) -> None:
    data = tmp_path / "cache" / "data"
    old, new = data / ".key.old", data / ".key.new"
    for left in (old, new):
        left.mkdir(parents=True)
    os.utime(old, (0, time.time() - 100_000))
    build_folder()
    assert not old.exists()
    assert new.exists()


RACE = """
import pathlib, sys, time
from pippin.data import shards
spec, cache, me = sys.argv[1:]
# Both have seen an empty cache before either writes.
real = shards.write_split
def slow(*arguments):
    pathlib.Path(cache, me).touch()
    while not all(pathlib.Path(cache, name).exists() for name in ("a", "b")):
        time.sleep(0.01)
    return real(*arguments)
shards.write_split = slow
dataset = shards.build(spec, vocab_size=300, cache_dir=pathlib.Path(cache))
print(dataset.sha256, len(dataset.text("train")))
"""


def test_two_processes_building_at_once_both_end_well(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(folder), str(cache), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert ends[0] == ends[1]
    assert ends[0][1] == ""
    assert (cache / "a").exists()
    assert (cache / "b").exists()
    assert len(list((cache / "data").iterdir())) == 1
    assert len(list((cache / "tokenizers").iterdir())) == 1


def test_an_open_dataset_outlives_its_folder(build_folder: Build) -> None:
    dataset = build_folder()
    before = dataset.text("train")
    for path in dataset.folder.iterdir():
        path.unlink()
    assert dataset.text("train") == before
