"""Named shapes: our own from about 3 M to 3 B parameters, and published ones up to 1 T.

The `pippin-*` shapes are ours: their vocabulary follows the job's tokenizer, heads are 64 wide, and
the feed-forward width is about 8/3 of the model's (twice in the smallest), a multiple of 64.
Published shapes name their source.
"""

from __future__ import annotations

from typing import Any

from pippin.errors import PippinError, nearest
from pippin.models.published import LLAMA_31_ROPE, PUBLISHED


def _shape(
    d_model: int, num_layers: int, num_heads: int, num_kv_heads: int, ffn_dim: int, **more: Any
) -> dict[str, Any]:
    return {
        "d_model": d_model,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "ffn_dim": ffn_dim,
        **more,
    }


PRESETS: dict[str, dict[str, Any]] = {
    "pippin-3m": _shape(256, 2, 4, 2, 512),
    "pippin-5m": _shape(256, 4, 4, 2, 704),
    "pippin-10m": _shape(320, 6, 5, 5, 896),
    "pippin-30m": _shape(512, 8, 8, 4, 1408),
    "pippin-125m": _shape(768, 16, 12, 4, 2048),
    "pippin-350m": _shape(1024, 24, 16, 8, 2816),
    "pippin-1b": _shape(2048, 20, 32, 8, 5632),
    "pippin-3b": _shape(3072, 26, 48, 8, 8192),
    # Llama 3.1 8B: arXiv 2407.21783, table 3, and the published configuration file (rotary embedding).
    "llama3.1-8b": _shape(
        4096,
        32,
        32,
        8,
        14336,
        vocab_size=128_256,
        tie_embeddings=False,
        rope_theta=500_000.0,
        rope_scaling=LLAMA_31_ROPE,
    ),
}


# Ours, of other structures. The experts that a token meets are together as wide as the dense shape's
# feed-forward part, so that a step costs about the same: pippin-5m and pippin-125m.
OTHER_STRUCTURES: dict[str, dict[str, Any]] = {
    "pippin-moe-12m": _shape(256, 4, 4, 2, 704, moe={"num_experts": 8, "top_k": 2, "ffn_dim": 352}),
    "pippin-moe-640m": _shape(768, 16, 12, 4, 2048, moe={"num_experts": 16, "top_k": 2, "ffn_dim": 1024}),
    # Apple's on-device shape (`apple-on-device-3b`) at a fiftieth of its parameters: the same two blocks 5:3,
    # norms of queries and keys, eight query heads to a key-value head, and a tied embedding.
    "pippin-apple-60m": _shape(
        512, 16, 8, 1, 1920, kv_reuse_layers=6, qk_norm=True, rope_theta=500_000.0, tie_embeddings=True
    ),
}

ALL_PRESETS = PRESETS | OTHER_STRUCTURES | PUBLISHED


def preset(name: object) -> dict[str, Any]:
    """The fields of a named shape; without `vocab_size` where that follows the tokenizer.

    Raises:
        PippinError: no preset has this name.
    """
    if not isinstance(name, str) or name not in ALL_PRESETS:
        close = nearest(str(name), ALL_PRESETS)
        raise PippinError(
            f"no preset named '{name}'",
            where="model.preset",
            fix=f"did you mean '{close}'?" if close else f"known: {', '.join(ALL_PRESETS)}",
        )
    return dict(ALL_PRESETS[name])
