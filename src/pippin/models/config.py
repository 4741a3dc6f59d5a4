"""The shape of a decoder. Knows nothing of chips, meshes or JAX."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelConfig(BaseModel):
    """A Llama-shaped decoder: pre-RMSNorm, rotary embedding, grouped-query attention, SwiGLU.

    All sizes are counts of elements. `head_dim` defaults to `d_model / num_heads`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

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
        return self
