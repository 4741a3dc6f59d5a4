"""Small models of each family as runs, made without training, and the reference's quiet import."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pippin.data.tokenizer import train_tokenizer
from pippin.job import make_job
from pippin.models import decoder
from pippin.models.config import ModelConfig
from pippin.models.loss import mean_loss
from pippin.models.parameters import flat_specs
from pippin.train.checkpoint import Checkpoints, Identity

TEXT = "It's the apple's year 1790.\n\nGrow, a naïve café; then 雨 and 🍎!\n"
VOCABULARY = 300

# No two sizes agree by accident, and heads x head_dim is not d_model.
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 8,
    "ffn_dim": 40,
    "rope_theta": 500.0,
}
SCALING = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-untied-stretched": {"tie_embeddings": False, "num_kv_heads": 1, "rope_scaling": SCALING},
    "qwen3": {"qk_norm": True},
    "mixtral": {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 40}},
    "qwen3-moe": {"qk_norm": True, "moe": {"num_experts": 5, "top_k": 2, "ffn_dim": 12}},
}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return train_tokenizer([TEXT * 40, "seeds of pears and plums " * 40], VOCABULARY)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPPIN_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def torch() -> Any:
    return pytest.importorskip("torch", reason="needs PyTorch: pip install 'pippin[reference]'")


@pytest.fixture(scope="session")
def transformers(torch: Any) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the reference warns of is its own affair
        module = pytest.importorskip(
            "transformers", reason="needs transformers: pip install 'pippin[reference]'"
        )
        module.utils.logging.set_verbosity_error()
        module.utils.logging.disable_progress_bar()
        yield module


def shape(family: str) -> ModelConfig:
    return ModelConfig(**SMALL | FAMILIES[family])


def random_parameters(config: ModelConfig, seed: int = 7) -> dict[str, Any]:
    """Far from their start: norm scales differ from one, and every term counts."""
    generator = np.random.default_rng(seed)
    tree: dict[str, Any] = {}
    for path, spec in flat_specs(config).items():
        low, high = (0.5, 1.5) if spec.initial_std is None else (-0.35, 0.35)
        value = generator.uniform(low, high, spec.shape).astype(np.float32)
        *folders, name = path.split(".")
        branch = tree
        for folder in folders:
            branch = branch.setdefault(folder, {})
        branch[name] = value
    return tree


@pytest.fixture(scope="session")
def make_run(tokenizer: Any) -> Callable[..., Path]:
    """Writes a run's folder with these parameters as its only checkpoint, without `summary.json`."""

    def make(folder: Path, config: ModelConfig, parameters: Any, *, step: int = 12) -> Path:
        train = {"steps": step, "batch_size": 2, "sequence_length": 48}
        job = make_job({"model": config.model_dump(exclude_none=True), "train": train})
        folder.mkdir(parents=True)
        (folder / "job.toml").write_text(job.to_toml())
        (folder / "tokenizer.json").write_text(tokenizer.to_str())
        checkpoints = Checkpoints(folder / "checkpoints", Identity(job.hash, "none"), keep=1)
        checkpoints.save(step, {"parameters": parameters})
        return folder

    return make


@pytest.fixture(scope="session")
def runs(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of each family, made when first asked for. Tests read it and leave it as it is."""
    root = tmp_path_factory.mktemp("runs")

    def run(family: str) -> Path:
        folder = root / family
        config = shape(family)
        return folder if folder.exists() else make_run(folder, config, random_parameters(config))

    return run


@partial(jax.jit, static_argnames="config")
def loss_and_logits(parameters: Any, config: ModelConfig, tokens: Any, targets: Any) -> tuple[Any, Any]:
    """Gradients of the mean cross-entropy, and logits (B, S, V), of ours, for int32 (B, S)."""

    def loss(parameters: Any) -> Any:
        hidden = decoder.hidden_states(parameters, tokens, jnp.zeros_like(tokens), config)
        value, _ = mean_loss(hidden, decoder.head_matrix(parameters), targets, 0.0)
        return value, decoder.logits(parameters, hidden)

    return jax.grad(loss, has_aux=True)(parameters)
