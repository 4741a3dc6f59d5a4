"""Folders in the layout of transformers, whole and not, and the folder that an import makes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.data.tokenizer import BOUNDARY, load_tokenizer
from pippin.errors import PippinError
from pippin.export.importing import import_model
from pippin.export.safetensors_file import Array, read_header, write_file
from pippin.export.to_hf import export_hf
from pippin.train.digest import parameter_sha256
from pippin.train.saved import open_saved

from .conftest import TEXT, shape

Runs = Callable[[str], Path]


@pytest.fixture
def folder(runs: Runs, tmp_path: Path) -> Path:
    """An exported model, to damage. Without our own record it is as anybody else's."""
    export_hf(runs("llama"), tmp_path / "hf", max_shard_bytes=9_000)
    (tmp_path / "hf" / "pippin.json").unlink()
    return tmp_path / "hf"


def refused(folder: Path, message: str, **how: Any) -> None:
    """One line, and nothing is left behind."""
    out = folder.parent / "run"
    with pytest.raises(PippinError, match=message) as caught:
        import_model(str(folder), out, **how)
    assert "\n" not in str(caught.value)
    assert [path for path in folder.parent.iterdir() if "run" in path.name] == []


def test_an_export_comes_back_bit_for_bit(runs: Runs, tmp_path: Path) -> None:
    for number, size in enumerate((1, 9_000, 10**9)):
        export_hf(runs("llama"), tmp_path / f"hf{number}", max_shard_bytes=size)
        import_model(str(tmp_path / f"hf{number}"), tmp_path / f"run{number}")
        back, whence = open_saved(tmp_path / f"run{number}"), open_saved(runs("llama"))
        assert back.job.shape == whence.job.shape
        assert parameter_sha256(back.parameters) == parameter_sha256(whence.parameters)
        assert back.tokenizer.encode(TEXT, add_special_tokens=False).ids == whence.tokenizer.encode(TEXT).ids


def test_the_folder_says_where_it_came_from(folder: Path) -> None:
    run = folder.parent / "run"
    imported = import_model(str(folder), run, corpus="elsewhere", overrides=["train.steps=7"])
    record = json.loads((run / "import.json").read_text())
    assert record == imported.record
    assert record["boundary"] == {"token": BOUNDARY, "id": 0, "why": "the tokenizer puts it before a text"}
    assert {"config.json", "tokenizer.json"} < record["files"].keys()
    summary = json.loads((run / "summary.json").read_text())
    assert summary["parameter_sha256"] == record["parameter_sha256"] == imported.job.initial.sha256
    assert (summary["steps"], summary["validation_bits_per_byte"]) == (0, None)
    assert (imported.job.data.corpus, imported.job.train.steps) == ("elsewhere", 7)
    assert imported.job.train.sequence_length == 48  # the model's own
    assert not list(run.glob(".*"))


def test_bfloat16_is_read_as_it_was_rounded(runs: Runs, tmp_path: Path) -> None:
    import ml_dtypes

    export_hf(runs("llama"), tmp_path / "hf", dtype="bfloat16")
    import_model(str(tmp_path / "hf"), tmp_path / "run")
    found, right = (open_saved(run).parameters["embedding"] for run in (tmp_path / "run", runs("llama")))
    assert found.dtype == np.float32
    assert np.array_equal(found, right.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert not np.array_equal(found, right)


def edit(path: Path, **changes: Any) -> None:
    """Sets keys of a JSON object; None removes one."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: item for key, item in value.items() if item is not ...}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "config.json: unknown model_type 'gpt2' .known: llama"),
        ({"hidden_size": ...}, "config.json: hidden_size is missing"),
        ({"hidden_size": "wide"}, "not a shape we can build: d_model"),
        ({"num_key_value_heads": 3}, "not a shape we can build"),
        ({"attention_bias": True}, "attention_bias = True is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported"),
        ({"sliding_window": 4096}, "sliding_window = 4096 is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "type 'yarn' is not supported"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor is missing"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"model_type": "qwen3"}, "k_norm.weight, "),
        ({"num_hidden_layers": 3}, r"model\.layers\.2\.[a-z_.0-9]+, .* more are missing"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\..* are not expected of this shape"),
        ({"intermediate_size": 41}, r"down_proj.weight has the shape \[24, 40\], not \[24, 41\]"),
        ({"num_hidden_layers": 1 << 40}, "1,099,511,627,776 layers and 1 experts cannot be in"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
    ],
)
def test_settings_that_do_not_fit(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder / "config.json", **changes)
    refused(folder, message)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_scaling": "llama3"},
        {"rope_theta": "abc"},
        {"rope_theta": None},
        {"rms_norm_eps": None},
        {"rope_parameters": [1]},
        {"rope_parameters": {"rope_type": "llama3", "factor": None}},
        {"num_attention_heads": {}},
    ],
)
def test_settings_of_the_wrong_kind(folder: Path, changes: dict[str, Any]) -> None:
    content = json.loads((folder / "config.json").read_text())
    for name in ("rope_parameters", "rope_scaling"):
        content.pop(name, None)
    (folder / "config.json").write_text(json.dumps(content | changes))
    refused(folder, "config.json: ")


def test_both_ways_of_writing_the_rotary_base(folder: Path) -> None:
    edit(folder / "config.json", rope_theta=..., rope_parameters={"rope_type": "default", "rope_theta": 77.0})
    assert import_model(str(folder), folder.parent / "run").job.shape.rope_theta == 77.0
    assert shape("llama").rope_theta == 500.0


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def test_a_shard_that_is_missing_cut_or_another(folder: Path) -> None:
    first, second, *_ = shards(folder)
    raw = second.read_bytes()
    second.write_bytes(raw[:-1])
    refused(folder, "not a whole safetensors file")
    second.unlink()
    refused(folder, "00002-of-.*no such file")
    shutil.copy(first, second)
    refused(folder, "file and index disagree on")


def test_an_index_that_points_elsewhere(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    value = json.loads(index.read_text())
    for content, message in (
        ({"weight_map": dict.fromkeys(value["weight_map"], "../elsewhere")}, "not the name of a file"),
        ({"weight_map": {}}, "no weight_map"),
        ([], "not a JSON object"),
    ):
        index.write_text(json.dumps(content))
        refused(folder, message)
    index.write_text("{")
    refused(folder, "not valid JSON")


def test_values_that_are_no_numbers(folder: Path) -> None:
    path = shards(folder)[0]
    entries = {name: np.array(entry.read()) for name, entry in read_header(path).items()}
    name = next(iter(entries))
    entries[name].reshape(-1)[3] = np.nan
    arrays = [Array(key, value.shape, lambda value=value: value) for key, value in entries.items()]
    list(write_file(path, arrays, "float32"))
    refused(folder, f"{name} has values that are not finite")


def test_a_flip_in_an_array_is_seen_where_we_exported_it(runs: Runs, tmp_path: Path) -> None:
    """Safetensors have no checksum: without the hashes in `pippin.json` it would be believed."""
    export_hf(runs("llama"), tmp_path / "hf")
    path = tmp_path / "hf" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    refused(tmp_path / "hf", "the file is not the one that was exported")


def test_folders_and_files_that_are_no_model(folder: Path) -> None:
    refused(folder.parent / "nowhere", "no such file or folder")
    refused(shards(folder)[0], "the shape is in config.json beside it")
    for path in shards(folder):
        path.unlink()
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "there is no model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    refused(folder, "not pickles")
    (folder / "config.json").unlink()
    refused(folder, "config.json: no such file")


def test_tokenizers_that_cannot_be_used(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    path = folder / "tokenizer.json"
    right = path.read_text()
    words = Tokenizer(models.WordLevel({BOUNDARY: 0, "▁a": 1}, unk_token=BOUNDARY))
    words.save(str(path))
    refused(folder, "not byte-level")
    path.write_text("{}")
    refused(folder, "not a tokenizer")
    path.unlink()
    refused(folder, "there is no tokenizer.json")
    path.write_text(right)
    refused(folder, "the tokenizer has no token '<|boundry|>' .did you mean", boundary="<|boundry|>")


def test_the_boundary_by_name_by_end_or_as_asked(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    value["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(value))

    def chosen(out: str, **how: Any) -> tuple[str, str]:
        about = import_model(str(folder), folder.parent / out, **how).record["boundary"]
        loaded = load_tokenizer(folder.parent / out / "tokenizer.json")
        assert loaded.encode("a").ids[0] == about["id"] == loaded.token_to_id(about["token"])
        return about["token"], about["why"]

    assert chosen("a") == (BOUNDARY, "by its name it parts documents")
    assert chosen("b", boundary="!") == ("!", "as asked for")
    for added in value["added_tokens"]:
        added["content"] = "<end>"
    value["model"]["vocab"] = {"<end>" if k == BOUNDARY else k: v for k, v in value["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(value))
    edit(folder / "tokenizer_config.json", eos_token={"content": "<end>"}, bos_token="<end>")
    assert chosen("c") == ("<end>", "it ends a text")
    edit(folder / "tokenizer_config.json", add_bos_token=True)
    assert chosen("d") == ("<end>", "the tokenizer puts it before a text")
    (folder / "tokenizer_config.json").unlink()
    refused(folder, "nothing says which token parts documents .name it")


def test_the_place_must_be_free(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.write_text("a file")
    with pytest.raises(PippinError, match="there is a file of that name"):
        import_model(str(folder), out)
    out.unlink()
    (out / "inside").mkdir(parents=True)
    with pytest.raises(PippinError, match="the folder is not empty"):
        import_model(str(folder), out)
    (out / "inside").rmdir()
    import_model(str(folder), out)  # an empty one will do


def test_a_full_disk(folder: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(48 << 10)
    with pytest.raises(PippinError, match="no space left on the device") as caught:
        import_model(str(folder), disk / "run")
    assert "\n" not in str(caught.value)
    assert list(disk.iterdir()) == []


def test_an_imported_folder_is_not_trained_in(folder: Path) -> None:
    from pippin.train.loop import train

    run = folder.parent / "run"
    job = import_model(str(folder), run).job
    with pytest.raises(PippinError, match="the folder holds an imported model"):
        train(job, run)
