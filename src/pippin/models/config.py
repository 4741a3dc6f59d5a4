"""The shape of a decoder. Knows nothing of chips, meshes or JAX.

It describes more shapes than the trainer trains, because the planner plans them: `planned_only` says which.
"""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MoEConfig(_Frozen):
    """A mixture of experts in the place of the feed-forward part. Counts, and widths in elements.

    `capacity_factor` None routes every token (dropless); a number bounds the tokens of an expert to that
    many times its fair share, in a sequence group. The first `first_dense_layers` layers are dense, of the
    others every `every`-th has experts. Shared experts see every token; `shared_ffn_dim` is their width
    together.
    """

    num_experts: int = Field(ge=2)
    top_k: int = Field(ge=1)
    ffn_dim: int = Field(ge=1)
    num_shared_experts: int = Field(default=0, ge=0)
    shared_ffn_dim: int = Field(default=0, ge=0)
    first_dense_layers: int = Field(default=0, ge=0)
    every: int = Field(default=1, ge=1)
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalize_top_k: bool = True
    capacity_factor: float | None = Field(default=None, gt=0)
    load_balance_weight: float = Field(default=0.01, ge=0)
    router_z_weight: float = Field(default=0.001, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} is more than num_experts {self.num_experts}")
        if bool(self.num_shared_experts) != bool(self.shared_ffn_dim):
            raise ValueError("num_shared_experts and shared_ffn_dim go together")
        return self


class MLAConfig(_Frozen):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434). Widths in elements."""

    q_lora_rank: int = Field(default=0, ge=0)  # 0: queries straight from the residual stream
    kv_lora_rank: int = Field(ge=1)
    qk_nope_head_dim: int = Field(ge=1)
    qk_rope_head_dim: int = Field(ge=1)
    v_head_dim: int = Field(ge=1)


class RopeScaling(_Frozen):
    """Llama 3.1's stretch of the rotary wavelengths (its published configuration file)."""

    factor: float = Field(gt=0)
    low_freq_factor: float = Field(gt=0)
    high_freq_factor: float = Field(gt=0)
    original_max_position: int = Field(ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")
        return self


class ModelConfig(_Frozen):
    """A decoder: pre-RMSNorm, rotary embedding, grouped-query attention, SwiGLU or experts.

    All sizes are counts of elements. `head_dim` defaults to `d_model / num_heads`. The last
    `kv_reuse_layers` layers have no key and value projections and read those of the last layer before
    them (Apple's on-device model, arXiv 2507.13575).
    """

    vocab_size: int = Field(ge=2)
    d_model: int = Field(ge=2)
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(default=0, ge=0, validate_default=True)
    ffn_dim: int = Field(ge=1)
    tie_embeddings: bool = True
    rope_theta: float = Field(default=10_000.0, gt=0)
    norm_epsilon: float = Field(default=1e-5, gt=0)
    rope_scaling: RopeScaling | None = None
    qk_norm: bool = False
    kv_reuse_layers: int = Field(default=0, ge=0)
    moe: MoEConfig | None = None
    # What only the planner knows.
    mla: MLAConfig | None = None
    gated_ffn: bool = True
    sliding_window: int | None = Field(default=None, ge=1)  # tokens a local layer sees
    global_layer_every: int = Field(default=1, ge=1)  # of so many layers one sees the whole sequence
    learned_positions: int = Field(default=0, ge=0)  # rows of a position table (GPT-2, GPT-3)

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if not self.head_dim:
            if self.d_model % self.num_heads:
                raise ValueError(
                    f"d_model {self.d_model} does not divide into num_heads {self.num_heads}: "
                    "choose a multiple, or give head_dim"
                )
            object.__setattr__(self, "head_dim", self.d_model // self.num_heads)
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide into num_kv_heads {self.num_kv_heads}: "
                "each key-value head serves the same number of query heads"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim {self.head_dim} is odd: the rotary embedding turns pairs, so it must be even"
            )
        if self.kv_reuse_layers >= self.num_layers:
            raise ValueError(
                f"kv_reuse_layers {self.kv_reuse_layers} must be fewer than num_layers {self.num_layers}: "
                "some layer must make the keys and values"
            )
        if self.moe and self.moe.first_dense_layers >= self.num_layers:
            raise ValueError("moe.first_dense_layers leaves no layer with experts")
        return self

    @property
    def num_moe_layers(self) -> int:
        """Layers with experts."""
        if self.moe is None:
            return 0
        return math.ceil((self.num_layers - self.moe.first_dense_layers) / self.moe.every)

    @property
    def planned_only(self) -> str | None:
        """Why the trainer does not train this shape; None where it does."""
        if self.mla:
            return "latent attention (MLA) is planned, not trained"
        if not self.gated_ffn:
            return "a feed-forward part without a gate is planned, not trained"
        if self.sliding_window:
            return "sliding-window attention is planned, not trained"
        if self.learned_positions:
            return "learned positions are planned, not trained"
        if self.moe and (self.moe.first_dense_layers or self.moe.every > 1):
            return "dense and expert layers mixed are planned, not trained"
        if self.moe and (self.moe.num_shared_experts or self.moe.score == "sigmoid"):
            return "shared experts and sigmoid routing are planned, not trained"
        if self.moe and self.kv_reuse_layers:
            return "experts together with reused keys and values are planned, not trained"
        return None
