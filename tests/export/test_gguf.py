"""GGUF files: written here by the package gguf as llama.cpp's converter does, read as our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pippin.data.tokenizer import encode, load_tokenizer
from pippin.errors import PippinError
from pippin.export import tensors
from pippin.export.gguf_source import open_gguf
from pippin.export.gguf_tokenizer import gguf_tokenizer
from pippin.export.importing import import_model, read_parameters
from pippin.export.tensors import slots
from pippin.models.config import ModelConfig
from pippin.train.digest import flatten
from pippin.train.observer import Observer
from pippin.train.saved import open_saved

from .conftest import SMALL, TEXT, random_parameters, shape

gguf = pytest.importorskip("gguf", reason="needs gguf: pip install 'pippin[gguf]'")

ARCHITECTURES = {
    "llama": {},
    "llama-untied": {"tie_embeddings": False, "num_kv_heads": 1},
    "qwen3": {"qk_norm": True},
    "mixtral": {"moe": {"num_experts": 4, "top_k": 2, "ffn_dim": 40}},
    "qwen3-moe": {"qk_norm": True, "moe": {"num_experts": 5, "top_k": 2, "ffn_dim": 12}},
}


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """As convert_hf_to_gguf.py writes queries and keys of the architecture llama."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def fields_of(config: ModelConfig, tokenizer: Any) -> dict[str, tuple[Any, str]]:
    """Metadata as the converter writes it; the kind of number is part of the format."""
    arch = "qwen3" if config.qk_norm else "llama"
    if config.moe and config.qk_norm:
        arch = "qwen3moe"
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    fields: dict[str, tuple[Any, str]] = {
        "general.architecture": (arch, "string"),
        "general.license": ("apache-2.0", "string"),
        f"{arch}.block_count": (config.num_layers, "uint32"),
        f"{arch}.context_length": (64, "uint32"),
        f"{arch}.embedding_length": (config.d_model, "uint32"),
        f"{arch}.feed_forward_length": (config.ffn_dim, "uint32"),
        f"{arch}.attention.head_count": (config.num_heads, "uint32"),
        f"{arch}.attention.head_count_kv": (config.num_kv_heads, "uint32"),
        f"{arch}.attention.key_length": (config.head_dim, "uint32"),
        f"{arch}.attention.layer_norm_rms_epsilon": (config.norm_epsilon, "float32"),
        f"{arch}.rope.freq_base": (config.rope_theta, "float32"),
        "tokenizer.ggml.model": ("gpt2", "string"),
        "tokenizer.ggml.pre": ("gpt-2", "string"),
        "tokenizer.ggml.tokens": (tokens, "array"),
        "tokenizer.ggml.token_type": ([3 if token == "<|boundary|>" else 1 for token in tokens], "array"),
        "tokenizer.ggml.merges": (merges, "array"),
    }
    if config.moe:
        fields[f"{arch}.expert_count"] = (config.moe.num_experts, "uint32")
        fields[f"{arch}.expert_used_count"] = (config.moe.top_k, "uint32")
        fields[f"{arch}.expert_feed_forward_length"] = (config.moe.ffn_dim, "uint32")
    return fields


def write_gguf(
    path: Path, config: ModelConfig, parameters: Any, fields: dict[str, tuple[Any, str]], kind: str = "F32"
) -> Path:
    """Writes the file; matrices as `kind`, norms as F32."""
    arch, flat = fields["general.architecture"][0], flatten(parameters)
    writer = gguf.GGUFWriter(path, arch)
    for key, (value, how) in fields.items():
        if key != "general.architecture":
            getattr(writer, f"add_{how}")(key, value)
    heads = {"query": config.num_heads, "key": config.num_kv_heads}
    for slot in slots(config, tensors.GGUF):
        array = np.ascontiguousarray(slot.theirs(flat), np.float32)
        if arch == "llama" and (of := slot.path.rpartition(".")[2]) in heads:
            array = permuted(array, heads[of])
        wanted = gguf.GGMLQuantizationType[kind if array.ndim > 1 else "F32"]
        writer.add_tensor(slot.name, gguf.quants.quantize(array, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def written(tmp_path: Path, tokenizer: Any) -> Callable[..., Path]:
    """A file of a small Llama; `fields` sets metadata, None leaves it out."""

    def write(name: str = "model.gguf", kind: str = "F32", **fields: Any) -> Path:
        config = shape("llama")
        held = fields_of(config, tokenizer) | fields
        held = {key: value for key, value in held.items() if value is not None}
        return write_gguf(tmp_path / name, config, random_parameters(config), held, kind)

    return write


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_file_comes_in_bit_for_bit(tokenizer: Any, tmp_path: Path, family: str) -> None:
    config = ModelConfig(**SMALL | ARCHITECTURES[family])
    parameters = random_parameters(config)
    path = write_gguf(tmp_path / "model.gguf", config, parameters, fields_of(config, tokenizer))
    imported = import_model(str(path), tmp_path / "run")
    assert imported.job.shape == config
    assert imported.record["licence"] == "apache-2.0"
    found = flatten(open_saved(tmp_path / "run").parameters)
    for name, array in flatten(parameters).items():
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize(("kind", "error"), [("F16", 2e-4), ("BF16", 2e-3), ("Q8_0", 2e-3), ("Q4_1", 0.03)])
def test_other_types_of_numbers(tokenizer: Any, tmp_path: Path, kind: str, error: float) -> None:
    """Norms stay as they are; the rest is as near as the type allows. Rows have whole blocks of 32."""
    config = ModelConfig(**SMALL | {"d_model": 32, "ffn_dim": 64})
    right = random_parameters(config)
    fields = fields_of(config, tokenizer)
    source = open_gguf(write_gguf(tmp_path / "model.gguf", config, right, fields, kind))
    assert kind in source.details["array_types"]
    found = flatten(read_parameters(source, Observer()))
    for name, array in flatten(right).items():
        difference = np.abs(found[name] - array).max()
        assert difference == 0 if "norm" in name else 0 < difference < error, name


def test_the_tokenizer_gives_the_same_ids(written: Callable[..., Path], tmp_path: Path) -> None:
    """With GPT-2's way of cutting text on both sides."""
    from tokenizers import Tokenizer, pre_tokenizers

    import_model(str(written()), tmp_path / "run")
    ours = load_tokenizer(tmp_path / "run" / "tokenizer.json")
    right = Tokenizer.from_str((tmp_path / "run" / "tokenizer.json").read_text())
    right.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in (TEXT, "", "  two  spaces", "<|boundary|>"):
        ids = encode(ours, text)
        assert ours.decode(ids.tolist()) == text
        assert 0 not in ids
    assert ours.encode("apple").ids[0] == 0
    assert encode(ours, TEXT).tolist() == right.encode(TEXT, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-2", ["It", "'s", "Ġ12345", "!"]),
        ("smollm", ["It", "'s", "Ġ", "1", "2", "3", "4", "5", "!"]),
        ("llama-bpe", ["It", "'s", "Ġ", "123", "45", "!"]),
        ("qwen2", ["It", "'s", "Ġ", "1", "2", "3", "4", "5", "!"]),
    ],
)
def test_each_way_of_cutting_text(pre: str, words: list[str], tokenizer: Any) -> None:
    fields = fields_of(shape("llama"), tokenizer) | {"tokenizer.ggml.pre": (pre, "string")}
    made, _ = gguf_tokenizer(lambda key: fields.get(key, (None, ""))[0], Path("x"))
    assert [word for word, _ in made.pre_tokenizer.pre_tokenize_str("It's 12345!")] == words


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"llama.block_count": None}, "llama.block_count is missing"),
        ({"llama.block_count": (3, "uint32")}, r"blk\.2\..* more are missing"),
        ({"llama.block_count": (1, "uint32")}, r"blk\.1\..* more are not expected of this shape"),
        ({"llama.block_count": (1 << 31, "uint32")}, "2,147,483,648 layers .* cannot be in"),
        ({"llama.attention.head_count_kv": (3, "uint32")}, "not a shape we can build"),
        ({"llama.feed_forward_length": (41, "uint32")}, r"has the shape \[24, 40\], not \[24, 41\]"),
        ({"llama.rope.scaling.type": ("yarn", "string")}, "stretches the rotary embedding"),
        ({"llama.rope.dimension_count": (4, "uint32")}, "rotates only a part of each head"),
        ({"tokenizer.ggml.model": ("llama", "string")}, "its tokenizer is of kind 'llama'"),
        ({"tokenizer.ggml.pre": ("chameleon", "string")}, "its text is cut by 'chameleon'"),
        ({"tokenizer.ggml.merges": None}, "tokens or merges are missing"),
        ({"tokenizer.ggml.merges": (["q zz"], "array")}, "tokens and merges do not fit"),
    ],
)
def test_metadata_that_do_not_fit(
    written: Callable[..., Path], tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(PippinError, match=message) as caught:
        import_model(str(written(**fields)), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_architecture_we_do_not_have(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PippinError, match=r"unknown architecture 'mamba' .known: llama"):
        open_gguf(tmp_path / "x.gguf")


def test_cuts_are_noticed(written: Callable[..., Path]) -> None:
    path = written()
    whole = path.read_bytes()
    for length in [0, 1, 3, 4, 7, 8, 23, 24, 30, *range(50, len(whole), 3001), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(PippinError, match="not a whole GGUF file") as caught:
            open_gguf(path)
        assert "\n" not in str(caught.value), length


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flip_in_the_header_is_never_a_traceback(written: Callable[..., Path], data: st.DataObject) -> None:
    """GGUF has no checksum: a flip in a number may pass, one in the structure must not crash."""
    path = written("flip.gguf")
    raw = bytearray(path.read_bytes())
    header = len(raw) - 4 * sum(leaf.size for leaf in flatten(random_parameters(shape("llama"))).values())
    raw[data.draw(st.integers(0, header - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    try:
        source = open_gguf(path)
        source.check()
        read_parameters(source, Observer())
    except PippinError as error:
        assert "\n" not in str(error)


def test_without_the_package(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = written()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(PippinError, match=r"needs the package gguf .pip install gguf"):
        open_gguf(path)
