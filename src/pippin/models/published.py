"""Published shapes and how they were pretrained, each with its source.

Some of them are only planned, not trained here: `ModelConfig.planned_only` says which and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Llama 3.1's stretch of the rotary wavelengths; Llama 3.2 stretches four times as far.
LLAMA_31_ROPE = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position": 8192,
}
_LLAMA_3 = {"vocab_size": 128_256, "num_kv_heads": 8, "rope_theta": 500_000.0}
_QWEN_3 = {
    "vocab_size": 151_936,
    "tie_embeddings": False,
    "rope_theta": 1_000_000.0,
    "norm_epsilon": 1e-6,
    "qk_norm": True,
    "head_dim": 128,
}
_DEEPSEEK_MLA = {
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


def _deepseek_moe(num_experts: int, first_dense_layers: int) -> dict[str, Any]:
    return {
        "num_experts": num_experts,
        "top_k": 8,
        "ffn_dim": 2048,
        "num_shared_experts": 1,
        "shared_ffn_dim": 2048,
        "first_dense_layers": first_dense_layers,
        "score": "sigmoid",
    }


PUBLISHED: dict[str, dict[str, Any]] = {
    # Published configuration files of the models on Hugging Face, unless a line says otherwise.
    "smollm2-135m": {
        "vocab_size": 49_152,
        "d_model": 576,
        "num_layers": 30,
        "num_heads": 9,
        "num_kv_heads": 3,
        "ffn_dim": 1536,
        "rope_theta": 100_000.0,
    },
    "qwen3-0.6b": {
        **_QWEN_3,
        "tie_embeddings": True,
        "d_model": 1024,
        "num_layers": 28,
        "num_heads": 16,
        "num_kv_heads": 8,
        "ffn_dim": 3072,
    },
    "llama3.2-1b": {
        **_LLAMA_3,
        "d_model": 2048,
        "num_layers": 16,
        "num_heads": 32,
        "ffn_dim": 8192,
        "rope_scaling": {**LLAMA_31_ROPE, "factor": 32.0},
    },
    # arXiv 2507.13575 for the two blocks (5:3, the second without keys and values); widths from a reading of
    # the adapter toolkit, github.com/fguzman82/apple-foundation-model-analysis. Two key-value heads and the
    # norms of queries and keys follow from its exact count, see tests/plan/test_counts.py.
    "apple-on-device-3b": {
        "vocab_size": 153_600,
        "d_model": 2048,
        "num_layers": 56,
        "num_heads": 16,
        "num_kv_heads": 2,
        "head_dim": 128,
        "ffn_dim": 6656,
        "qk_norm": True,
        "kv_reuse_layers": 21,
        "rope_theta": 500_000.0,
    },
    "llama2-7b": {
        "vocab_size": 32_000,
        "d_model": 4096,
        "num_layers": 32,
        "num_heads": 32,
        "num_kv_heads": 32,
        "ffn_dim": 11_008,
        "tie_embeddings": False,
    },
    "qwen3-8b": {
        **_QWEN_3,
        "d_model": 4096,
        "num_layers": 36,
        "num_heads": 32,
        "num_kv_heads": 8,
        "ffn_dim": 12_288,
    },
    "qwen3-30b-a3b": {
        **_QWEN_3,
        "d_model": 2048,
        "num_layers": 48,
        "num_heads": 32,
        "num_kv_heads": 4,
        "ffn_dim": 6144,
        "moe": {"num_experts": 128, "top_k": 8, "ffn_dim": 768},
    },
    "mixtral-8x7b": {
        "vocab_size": 32_000,
        "d_model": 4096,
        "num_layers": 32,
        "num_heads": 32,
        "num_kv_heads": 8,
        "ffn_dim": 14_336,
        "tie_embeddings": False,
        "rope_theta": 1_000_000.0,
        "moe": {"num_experts": 8, "top_k": 2, "ffn_dim": 14_336},
    },
    "llama3.1-70b": {
        **_LLAMA_3,
        "d_model": 8192,
        "num_layers": 80,
        "num_heads": 64,
        "ffn_dim": 28_672,
        "tie_embeddings": False,
        "rope_scaling": LLAMA_31_ROPE,
    },
    # GPT-3: arXiv 2005.14165, table 2.1; the vocabulary and the table of positions are GPT-2's.
    "gpt3-175b": {
        "vocab_size": 50_257,
        "d_model": 12_288,
        "num_layers": 96,
        "num_heads": 96,
        "num_kv_heads": 96,
        "ffn_dim": 49_152,
        "gated_ffn": False,
        "learned_positions": 2048,
    },
    "llama3.1-405b": {
        **_LLAMA_3,
        "d_model": 16_384,
        "num_layers": 126,
        "num_heads": 128,
        "ffn_dim": 53_248,
        "tie_embeddings": False,
        "rope_scaling": LLAMA_31_ROPE,
    },
    # DeepSeek-V3: arXiv 2412.19437, section 4.2, without its multi-token prediction module.
    "deepseek-v3": {
        "vocab_size": 129_280,
        "d_model": 7168,
        "num_layers": 61,
        "num_heads": 128,
        "num_kv_heads": 128,
        "ffn_dim": 18_432,
        "tie_embeddings": False,
        "norm_epsilon": 1e-6,
        "mla": _DEEPSEEK_MLA,
        "moe": _deepseek_moe(256, 3),
    },
    # Kimi K2: arXiv 2507.20534, table 2.
    "kimi-k2": {
        "vocab_size": 163_840,
        "d_model": 7168,
        "num_layers": 61,
        "num_heads": 64,
        "num_kv_heads": 64,
        "ffn_dim": 18_432,
        "tie_embeddings": False,
        "rope_theta": 50_000.0,
        "norm_epsilon": 1e-6,
        "mla": _DEEPSEEK_MLA,
        "moe": _deepseek_moe(384, 1),
    },
}


@dataclass(frozen=True)
class PublishedRecipe:
    """How a model was pretrained. Sequences an update, tokens a sequence, tokens in all.

    `batch_published` is False where the batch is a guess of ours; `tokens` is None where it is not known.
    """

    global_batch: int
    sequence_length: int
    tokens: float | None
    batch_published: bool
    source: str


def _guess(batch: int, length: int, tokens: float | None, source: str) -> PublishedRecipe:
    return PublishedRecipe(batch, length, tokens, False, f"batch assumed, not published; {source}")


# The batch is the one after the ramp-up, which most of the tokens saw.
PUBLISHED_RECIPES: dict[str, PublishedRecipe] = {
    "smollm2-135m": _guess(512, 2048, 2e12, "tokens: its model card"),
    "qwen3-0.6b": _guess(1024, 4096, 36e12, "length and tokens: arXiv 2505.09388"),
    "llama3.2-1b": _guess(512, 8192, 9e12, "tokens: its model card"),
    "apple-on-device-3b": PublishedRecipe(
        4096,
        4096,
        6.3e12,
        True,
        "Apple's 2024 report, arXiv 2407.21075: core stage, 4,096 x 4,096, 6.3 T tokens",
    ),
    "llama2-7b": PublishedRecipe(
        1024, 4096, 2e12, True, "arXiv 2307.09288, section 2: 4 M tokens a batch of 4,096 each, 2.0 T tokens"
    ),
    "qwen3-8b": _guess(1024, 4096, 36e12, "length and tokens: arXiv 2505.09388"),
    "qwen3-30b-a3b": _guess(1024, 4096, 36e12, "length and tokens: arXiv 2505.09388"),
    "mixtral-8x7b": _guess(1024, 4096, None, "length assumed too; tokens not published (arXiv 2401.04088)"),
    "llama3.1-8b": _guess(512, 8192, 15e12, "length and tokens: arXiv 2407.21783"),
    "llama3.1-70b": _guess(1024, 8192, 15e12, "length and tokens: arXiv 2407.21783"),
    "gpt3-175b": PublishedRecipe(
        1536,
        2048,
        300e9,
        True,
        "arXiv 2005.14165, table 2.1: 3.2 M tokens a batch; 1,536 x 2,048 in arXiv 2104.04473",
    ),
    "llama3.1-405b": PublishedRecipe(
        2048,
        8192,
        15.6e12,
        True,
        "arXiv 2407.21783, section 3.4.1 and table 4: 16 M tokens a batch of 8,192 each",
    ),
    "deepseek-v3": PublishedRecipe(
        15_360,
        4096,
        14.8e12,
        True,
        "arXiv 2412.19437, section 4.2: 3,072 rising to 15,360 sequences of 4,096",
    ),
    "kimi-k2": PublishedRecipe(
        16_384, 4096, 15.5e12, True, "arXiv 2507.20534, section 2.5: 67 M tokens a batch of 4,096 each"
    ),
}
