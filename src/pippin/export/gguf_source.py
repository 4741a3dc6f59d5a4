"""Opens a GGUF file: llama.cpp's format, often with weights of four or eight bits.

Quantised arrays become float32 one at a time. For the architecture `llama` the converter of llama.cpp stores
the rows of queries and keys in the order of its own rotary embedding (pairs side by side, ours half a head
apart); that is undone here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from pippin.errors import PippinError, explained
from pippin.export import tensors
from pippin.export.gguf_structure import check_structure
from pippin.export.gguf_tokenizer import gguf_tokenizer
from pippin.export.source import Source, needed_slots
from pippin.models.config import ModelConfig, MoEConfig

_INSTALL = "pip install gguf"
# Architectures by the name in the file: whether queries and keys are normed, and whether their rows are
# permuted.
_ARCHITECTURES = {"llama": (False, True), "qwen3": (True, False), "qwen3moe": (True, False)}


@dataclass(frozen=True)
class GgufArray:
    """One array; `read` dequantises it. `heads` is how many heads its permuted rows belong to, else 0."""

    tensor: Any
    heads: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(int(n) for n in reversed(self.tensor.shape))  # GGUF writes the innermost first

    def read(self) -> np.ndarray:
        from gguf.quants import dequantize

        kind = self.tensor.tensor_type
        try:
            values = dequantize(self.tensor.data, kind).reshape(self.shape)
        except (NotImplementedError, KeyError, ValueError) as error:
            what = f"{self.tensor.name} is of type {kind.name}, which the gguf package cannot dequantise"
            raise PippinError(what) from error
        return unpermuted(values, self.heads) if self.heads else values


def unpermuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows (heads x D, E) from pairs side by side to halves apart (convert_hf_to_gguf.py, `permute`)."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def open_gguf(path: Path) -> Source:
    """Opens the file and reads its metadata; weights stay in the memory map.

    Raises:
        PippinError: not a whole GGUF file, an architecture or a tokenizer that we do not have, or the
            package gguf is not installed.
    """
    reader = _reader(path)
    about = _Metadata(reader, path)
    config = _config(about, {tensor.name: tensor for tensor in reader.tensors})
    _, permuted = _ARCHITECTURES[about.architecture]
    arrays = {
        tensor.name: GgufArray(tensor, _heads(tensor.name, config, permuted)) for tensor in reader.tensors
    }
    tokenizer, hints = gguf_tokenizer(about.get, path)
    return Source(
        path=path,
        format="gguf",
        config=config,
        slots=needed_slots(config, tensors.GGUF, arrays, path),
        arrays=dict(arrays),
        tokenizer=tokenizer,
        hints=hints,
        max_positions=about.get(f"{about.architecture}.context_length"),
        licence=about.get("general.license"),
        files=[path],
        details={
            "architecture": about.architecture,
            "name": about.get("general.name"),
            "array_types": sorted({tensor.tensor_type.name for tensor in reader.tensors}),
        },
    )


def _reader(path: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise PippinError("reading GGUF needs the package gguf", where=path, fix=_INSTALL) from error
    with explained(path):
        size = path.stat().st_size
        try:
            check_structure(path)
            reader = GGUFReader(path)
        except OSError:
            raise
        except Exception as error:  # Bytes that mean nothing end it in any of a dozen ways.
            message = " ".join(str(error).split())[:120]
            raise _damaged(path, message or type(error).__name__) from error
    for tensor in reader.tensors:
        if tensor.data_offset + tensor.n_bytes > size or tensor.data.nbytes != tensor.n_bytes:
            raise _damaged(path, f"{tensor.name} reaches beyond its {size:,} bytes")
    return reader


def _damaged(path: Path, why: str) -> PippinError:
    return PippinError(f"not a whole GGUF file: {why}", where=path, fix="fetch it again")


class _Metadata:
    """The file's keys and values."""

    def __init__(self, reader: Any, path: Path) -> None:
        self._fields, self.path = reader.fields, path
        self.architecture = str(self.get("general.architecture"))
        if self.architecture not in _ARCHITECTURES:
            known = ", ".join(_ARCHITECTURES)
            what = f"unknown architecture {self.architecture!r}"
            raise PippinError(what, where=path, fix=f"known: {known}")

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        if field is None:
            return default
        try:
            return field.contents()
        except (ValueError, IndexError, TypeError) as error:
            raise _damaged(self.path, f"{key} cannot be read") from error

    def need(self, key: str) -> Any:
        """A key of the architecture."""
        value = self.get(f"{self.architecture}.{key}")
        if value is None:
            raise PippinError(f"{self.architecture}.{key} is missing", where=self.path)
        return value

    def may(self, key: str, default: Any = None) -> Any:
        return self.get(f"{self.architecture}.{key}", default)


def _config(about: _Metadata, held: dict[str, Any]) -> ModelConfig:
    if "token_embd.weight" not in held:
        raise PippinError("token_embd.weight is missing", where=about.path, fix="fetch it whole")
    _refuse_other_mathematics(about, held)
    heads, width = int(about.need("attention.head_count")), int(about.need("embedding_length"))
    qk_norm, _ = _ARCHITECTURES[about.architecture]
    try:
        return ModelConfig(
            vocab_size=int(held["token_embd.weight"].shape[-1]),
            d_model=width,
            num_layers=int(about.need("block_count")),
            num_heads=heads,
            num_kv_heads=int(about.may("attention.head_count_kv", heads)),
            head_dim=int(about.may("attention.key_length", 0)),
            ffn_dim=int(about.need("feed_forward_length")),
            tie_embeddings="output.weight" not in held,
            rope_theta=_shortest(about.may("rope.freq_base", 10_000.0)),
            norm_epsilon=_shortest(about.need("attention.layer_norm_rms_epsilon")),
            qk_norm=qk_norm,
            moe=_moe(about),
        )
    except (ValidationError, TypeError, ValueError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise PippinError(f"not a shape we can build: {first}", where=about.path) from error


def _moe(about: _Metadata) -> MoEConfig | None:
    experts = int(about.may("expert_count", 0))
    if not experts:
        return None
    return MoEConfig(
        num_experts=experts,
        top_k=int(about.need("expert_used_count")),
        ffn_dim=int(about.may("expert_feed_forward_length") or about.need("feed_forward_length")),
    )


def _refuse_other_mathematics(about: _Metadata, held: dict[str, Any]) -> None:
    kind = about.may("rope.scaling.type", "none")
    if kind not in ("none", "") or "rope_freqs.weight" in held:
        raise PippinError(
            "it stretches the rotary embedding in a way that GGUF does not spell out",
            where=about.path,
            fix="import the safetensors of the same model",
        )
    width = int(about.may("attention.key_length", 0)) or int(about.need("embedding_length")) // int(
        about.need("attention.head_count")
    )
    if int(about.may("rope.dimension_count", width)) != width:
        raise PippinError("it rotates only a part of each head", where=about.path)
    if int(about.may("attention.value_length", width)) != width:
        raise PippinError("its values are not as wide as its keys", where=about.path)


def _shortest(value: float) -> float:
    """The shortest number that is the same in the file's 32 bits: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _heads(name: str, config: ModelConfig, permuted: bool) -> int:
    if not permuted:
        return 0
    return {"attn_q": config.num_heads, "attn_k": config.num_kv_heads}.get(name.split(".")[-2], 0)
