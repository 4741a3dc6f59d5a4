"""Attention by named backend: the chip rules wish for one, the job's arrays decide whether it can do them.

The reference always can. Where a wish cannot be met the reference takes its place, with the reason beside
it; a wish stated in the job is an error instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jax import Array

from pippin.errors import PippinError
from pippin.models.attention.blocked import reference_attention
from pippin.models.attention.kernels import SPLASH_MULTIPLE, cudnn_attention, splash_attention


class Attention(Protocol):
    """Queries (B, S, H, D), keys and values (B, S, K, D), segments (B, S) int32 -> (B, S, H, D).

    Causal; a query sees only keys of its own segment (document).
    """

    def __call__(self, q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array, /) -> Array: ...


@dataclass(frozen=True)
class Use:
    """What is asked of a backend.

    `packed`: rows hold more than one document. `devices` share the step; `sequence_parts` of them share a
    sequence.
    """

    platform: str
    compute_dtype: str
    head_dim: int
    sequence_length: int
    packed: bool
    devices: int = 1
    sequence_parts: int = 1


@dataclass(frozen=True)
class Backend:
    """A function (None: not written yet) and what keeps it from a use, None where nothing does."""

    function: Attention | None
    obstacle: Callable[[Use], str | None]


def _mesh_obstacle(use: Use) -> str | None:
    """Kernels do not say over which devices their results vary, which the mesh's types ask for."""
    if use.sequence_parts > 1:
        return "the sequence is split: keys go round a ring, met in blocks of the reference"
    if use.devices > 1:
        return "the kernel's call cannot be traced over more than one device yet"
    return None


def _cudnn_obstacle(use: Use) -> str | None:
    if use.platform != "cuda":
        return "cuDNN is NVIDIA's"
    if use.packed:
        return "JAX's public cuDNN call takes lengths, not the document numbers of packed rows"
    if use.compute_dtype != "bfloat16":
        return "cuDNN's flash attention takes 16-bit types only"
    if use.head_dim % 8 or use.head_dim > 128:
        return f"cuDNN takes head widths that are multiples of 8 up to 128, not {use.head_dim}"
    return _mesh_obstacle(use)


def _splash_obstacle(use: Use) -> str | None:
    if use.platform != "tpu":
        return "splash attention is a kernel for TPUs"
    if use.sequence_length % SPLASH_MULTIPLE:
        return f"splash takes multiples of {SPLASH_MULTIPLE} tokens, not {use.sequence_length}"
    return _mesh_obstacle(use)


def _nki_obstacle(use: Use) -> str | None:
    return "no NKI kernel is written yet: it goes into models/attention/kernels.py, and its function here"


BACKENDS: dict[str, Backend] = {
    "reference": Backend(reference_attention, lambda use: None),
    "cudnn": Backend(cudnn_attention, _cudnn_obstacle),
    "splash": Backend(splash_attention, _splash_obstacle),
    "nki": Backend(None, _nki_obstacle),
}


def attention_backend(name: str) -> Attention:
    """The attention function of that name.

    Raises:
        PippinError: there is none.
    """
    function = BACKENDS[name].function if name in BACKENDS else None
    if function is None:
        raise PippinError(
            f"no attention backend named '{name}'",
            where="chip.attention",
            fix=f"known: {', '.join(name for name, backend in BACKENDS.items() if backend.function)}",
        )
    return function


def choose_attention(wish: str, use: Use, *, stated: bool = False) -> tuple[str, str]:
    """The backend for a use, and why that one, in words.

    Args:
        wish: a name, of the chip rules or of the job.
        use: what is asked of it.
        stated: the job asks for it, so that another will not do.

    Raises:
        PippinError: the job asks for one that does not exist or cannot do it.
    """
    if wish not in BACKENDS:
        attention_backend(wish)
    obstacle = BACKENDS[wish].obstacle(use)
    if obstacle and stated:
        raise PippinError(
            f"'{wish}' cannot be used: {obstacle}",
            where="chip.attention",
            fix="leave it out, or set reference",
        )
    if obstacle:
        return "reference", f"not {wish}: {obstacle}"
    source = "as the job says" if stated else "as the chip rule says"
    if wish == "reference" and use.sequence_parts > 1:
        source += ", in blocks that go round a ring, since the sequence is split"
    return wish, source
