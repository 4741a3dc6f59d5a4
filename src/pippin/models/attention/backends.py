"""Attention by named backend. The chip rules choose; the reference always works."""

from __future__ import annotations

from typing import Protocol

from jax import Array

from pippin.errors import PippinError
from pippin.models.attention.blocked import reference_attention


class Attention(Protocol):
    """Queries (B, S, H, D), keys and values (B, S, K, D), segments (B, S) int32 -> (B, S, H, D).

    Causal; a query sees only keys of its own segment (document).
    """

    def __call__(self, q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, /) -> Array: ...


BACKENDS: dict[str, Attention] = {"reference": reference_attention}


def attention_backend(name: str) -> Attention:
    """The attention function of that name.

    Raises:
        PippinError: there is none.
    """
    if name not in BACKENDS:
        raise PippinError(
            f"no attention backend named '{name}'",
            where="chip.attention",
            fix=f"known: {', '.join(BACKENDS)}",
        )
    return BACKENDS[name]
