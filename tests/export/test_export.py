"""What an export writes, and when it writes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pippin.errors import PippinError
from pippin.export.hf_config import from_hf, to_hf
from pippin.export.importing import import_model
from pippin.export.safetensors_file import read_header
from pippin.export.to_hf import export_hf
from pippin.models.config import ModelConfig
from pippin.models.counts import num_parameters
from pippin.storage import sha256_file

from .conftest import SCALING, SMALL, shape

Runs = Callable[[str], Path]


def test_one_file_or_shards_with_an_index(runs: Runs, tmp_path: Path) -> None:
    config = shape("llama")
    one = export_hf(runs("llama"), tmp_path / "one")
    assert {path.name for path in (tmp_path / "one").iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "pippin.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    many = export_hf(runs("llama"), tmp_path / "many", max_shard_bytes=9_000, dtype="bfloat16")
    assert one.array_bytes == 4 * num_parameters(config) == 2 * many.array_bytes
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {
        "total_size": many.array_bytes,
        "total_parameters": num_parameters(config),
    }
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert [path.name for path in files] == [
        f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)
    ]
    held = {name: path.name for path in files for name in read_header(path)}
    assert held == index["weight_map"] and len(files) > 2


def test_the_record_has_the_hash_of_every_file(runs: Runs, tmp_path: Path) -> None:
    done = export_hf(runs("llama"), tmp_path / "hf")
    record = json.loads((tmp_path / "hf" / "pippin.json").read_text())
    assert record["files"] == done.files
    for path in (tmp_path / "hf").iterdir():
        assert path.name == "pippin.json" or record["files"][path.name] == sha256_file(path)
    assert (record["step"], record["tokens"]) == (12, 12 * 2 * 48)


@pytest.fixture
def trained(runs: Runs, tmp_path: Path) -> Path:
    """The run with what a finished training leaves beside the checkpoint."""
    run = Path(shutil.copytree(runs("llama"), tmp_path / "run"))
    (run / "summary.json").write_text(json.dumps({"steps": 12, "validation_bits_per_byte": 2.34567}))
    imported = {"name": "Small One", "licence": "apache-2.0", "source": "/elsewhere/x/small.gguf"}
    record = {
        "data": {"corpus": "orchard", "licence": "CC0", "source": "the trees"},
        "initial": {"folder": "/elsewhere/x/first", "parameter_sha256": "ab", "import.json": imported},
    }
    (run / "run.json").write_text(json.dumps(record))
    return run


def test_the_card_says_what_must_be_said(trained: Path, tmp_path: Path) -> None:
    done = export_hf(trained, tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text()
    for wanted in (
        "library_name: transformers",
        "license: other",
        "# hf\n",
        "| held-out bits per byte | 2.3457 |",
        f"`{done.provenance.job_hash}`",
        "- Trained on `orchard`: CC0. Source: the trees.",
        "- Started from Small One: apache-2.0.",
        "Nothing: this copy was written without `--verify`.",
        "Neither vLLM nor MLX was run",
    ):
        assert wanted in card, wanted
    assert "/elsewhere/x" not in card + (tmp_path / "hf" / "pippin.json").read_text()


def test_licences_go_with_the_weights_out_in_and_out_again(trained: Path, tmp_path: Path) -> None:
    export_hf(trained, tmp_path / "first")
    import_model(str(tmp_path / "first"), tmp_path / "imported")
    export_hf(tmp_path / "imported", tmp_path / "second")
    card = (tmp_path / "second" / "README.md").read_text()
    assert "- Started from Small One: apache-2.0." in card
    assert "- Started from a run of Pippin, trained on `orchard`: CC0." in card
    assert "license: other" in card


def test_a_score_of_another_step_is_not_this_ones(trained: Path, tmp_path: Path) -> None:
    (trained / "summary.json").write_text(json.dumps({"steps": 13, "validation_bits_per_byte": 2.3}))
    assert export_hf(trained, tmp_path / "hf").provenance.held_out_bits_per_byte is None
    assert "not measured at this step" in (tmp_path / "hf" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_reuse_layers": 1}, "layers reuse another layer's keys and values"),
        ({"sliding_window": 8}, "sliding-window attention is planned"),
        (
            {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 8, "normalize_top_k": False}},
            "Mixtral always renormalises",
        ),
    ],
)
def test_shapes_without_a_class_are_refused_with_the_reason(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PippinError, match=message):
        to_hf(ModelConfig(**SMALL | changes), max_positions=8, boundary_id=0, dtype="float32")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False, "norm_epsilon": 1e-6},
        {"rope_scaling": SCALING},
        {"qk_norm": True},
        {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 40}},
        {"qk_norm": True, "moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 8}},
        {"qk_norm": True, "moe": {"num_experts": 4, "top_k": 1, "ffn_dim": 8, "normalize_top_k": False}},
    ],
    ids=["llama", "untied", "stretched", "qwen3", "mixtral", "qwen3-moe", "qwen3-moe-raw"],
)
def test_a_config_comes_back(changes: dict[str, Any]) -> None:
    config = ModelConfig(**SMALL | changes)
    content = json.loads(
        json.dumps(to_hf(config, max_positions=48, boundary_id=0, dtype="float32"), allow_nan=False)
    )
    assert content["max_position_embeddings"] == 48
    assert from_hf(content, Path("config.json"))[0] == config


def test_what_cannot_be_asked_for(runs: Runs, tmp_path: Path) -> None:
    with pytest.raises(PippinError, match="'int4' is not a type to export"):
        export_hf(runs("llama"), tmp_path / "hf", dtype="int4")
    with pytest.raises(PippinError, match="no run in this folder"):
        export_hf(tmp_path, tmp_path / "hf")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "thesis.tex").write_text("years of work")
    with pytest.raises(PippinError, match="the folder is not empty"):
        export_hf(runs("llama"), tmp_path / "hf")
    assert (tmp_path / "hf" / "thesis.tex").read_text() == "years of work"


def test_a_full_disk_leaves_nothing(runs: Runs, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(64 << 10)
    with pytest.raises(PippinError, match="no space left on the device") as caught:
        export_hf(runs("llama"), disk / "hf")
    assert "\n" not in str(caught.value) and str(disk) in str(caught.value)
    assert list(disk.iterdir()) == []
