"""Through the files and back: what transformers loads of ours, and what we read of theirs, is one model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.export.hf_config import family_of
from pippin.export.importing import import_model
from pippin.export.tensors import slots
from pippin.export.to_hf import export_hf
from pippin.train.digest import flatten
from pippin.train.saved import open_saved

from .conftest import FAMILIES, loss_and_logits, shape

pytestmark = pytest.mark.reference
Runs = Callable[[str], Path]


def load(transformers: Any, torch: Any, folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def their_gradients(torch: Any, model: Any, tokens: np.ndarray, targets: np.ndarray) -> Any:
    """Logits, and gradients by parameter name."""
    logits = model(input_ids=torch.from_numpy(tokens)).logits
    torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), torch.from_numpy(targets).reshape(-1)
    ).backward()
    return logits.detach().numpy(), {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_model_has_our_logits_and_gradients(
    torch: Any, transformers: Any, runs: Runs, tmp_path: Path, family: str
) -> None:
    config = shape(family)
    export_hf(runs(family), tmp_path / "hf", max_shard_bytes=9_000)
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) > 2
    model = load(transformers, torch, tmp_path / "hf")
    assert type(model).__name__ == family_of(config).architecture
    tokens, targets = np.random.default_rng(1).integers(0, config.vocab_size, (2, 2, 19))
    logits, gradients = their_gradients(torch, model, tokens, targets)
    ours, our_logits = loss_and_logits(
        open_saved(runs(family)).parameters, config, *map(np.int32, (tokens, targets))
    )
    np.testing.assert_allclose(our_logits, logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.1  # not a comparison of zeros
    assert_same_gradients(config, flatten(ours), gradients)


def assert_same_gradients(config: Any, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """By relative norm, each array; transformers may hold the experts of a layer in one."""
    checked = 0
    for slot in slots(config, family_of(config).names):
        # In memory, transformers calls Mixtral's router as it calls Qwen's.
        name = slot.name.replace("block_sparse_moe.gate", "mlp.gate")
        if name not in theirs:
            continue
        expected = theirs[name].numpy()
        error = np.linalg.norm(slot.theirs(ours) - expected) / np.linalg.norm(expected)
        assert error < 1e-4, f"{slot.name}: {error:.1e}"
        checked += 1
    fused = [name for name in theirs if "experts" in name]
    assert checked == len(theirs) - len(fused)
    for name in fused:
        layer = int(name.split(".")[2])
        expected = theirs[name].numpy()
        parts = ["expert_gate", "expert_up"] if "gate_up" in name else ["expert_down"]
        found = np.concatenate([ours[f"layers.{part}"][layer].swapaxes(1, 2) for part in parts], axis=1)
        assert found.shape == expected.shape, name
        assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected), name


@pytest.mark.parametrize("family", FAMILIES)
def test_what_transformers_saves_is_read_back(
    torch: Any, transformers: Any, runs: Runs, tmp_path: Path, family: str
) -> None:
    """Their own model, with their own initial values, saved by `save_pretrained` in several files."""
    config = shape(family)
    export_hf(runs(family), tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
        torch.manual_seed(3)
        model = transformers.AutoModelForCausalLM.from_config(made).float().eval()
        for name, value in model.named_parameters():  # their start is near zero, and norms at one
            with torch.no_grad():
                value.add_(torch.empty_like(value).uniform_(-0.3, 0.3))
            assert value.dtype == torch.float32, name
        model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
        transformers.AutoTokenizer.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    imported = import_model(str(tmp_path / "theirs"), tmp_path / "run")
    assert imported.job.shape == config
    saved = open_saved(tmp_path / "run")
    tokens, targets = np.random.default_rng(2).integers(0, config.vocab_size, (2, 2, 19))
    logits, gradients = their_gradients(torch, model, tokens, targets)
    ours, our_logits = loss_and_logits(saved.parameters, config, *map(np.int32, (tokens, targets)))
    np.testing.assert_allclose(our_logits, logits, rtol=1e-4, atol=1e-4)
    assert logits.std() > 0.1
    assert_same_gradients(config, flatten(ours), gradients)


@pytest.mark.parametrize("family", ["llama", "qwen3-moe"])
def test_the_verification_passes(
    torch: Any, transformers: Any, runs: Runs, tmp_path: Path, family: str
) -> None:
    for dtype in ("float32", "bfloat16"):
        done = export_hf(runs(family), tmp_path / dtype, dtype=dtype, verify=True)
        assert done.verification and done.verification.max_difference < 1e-4
        assert "agree with those of transformers" in (tmp_path / dtype / "README.md").read_text()


def test_the_verification_sees_a_wrong_setting(
    torch: Any, transformers: Any, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pippin.errors import PippinError
    from pippin.export import to_hf

    right = to_hf.to_hf
    monkeypatch.setattr(to_hf, "to_hf", lambda *a, **k: right(*a, **k) | {"rope_theta": 10_000.0})
    with pytest.raises(PippinError, match=r"logits differ .* not exported"):
        export_hf(runs("llama"), tmp_path / "hf", verify=True)
    assert list(tmp_path.glob("*hf*")) == []


def test_ids_are_ours_with_the_boundary_in_front(transformers: Any, runs: Runs, tmp_path: Path) -> None:
    from pippin.data.tokenizer import BOUNDARY, encode

    export_hf(runs("llama"), tmp_path / "hf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    ours = open_saved(runs("llama")).tokenizer
    for text in ("", "an apple", f"{BOUNDARY} is text", "\n\n  雨 🍎\t1790's", "a" * 300):
        assert theirs(text)["input_ids"] == [0, *encode(ours, text).tolist()]
    ids = theirs("naïve 雨")["input_ids"]
    assert theirs.decode(ids, skip_special_tokens=True) == "naïve 雨"
    assert (theirs.bos_token, theirs.eos_token) == (BOUNDARY, BOUNDARY)
    settings = json.loads((tmp_path / "hf" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == settings["bos_token_id"] == 0
