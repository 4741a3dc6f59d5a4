"""How a training step may be spread over chips: many layouts at once, as arrays.

Every field is an array of one length N (or a scalar that holds for all). Ranks multiply as
`tensor * context * stage * data = chips`; the expert ranks are taken from `data * context * tensor`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Layouts:
    """N layouts of one or of many jobs.

    Counts are chips (or ranks of one chip each), sequences and layers. `zero` is the ZeRO stage (0: all
    is replicated over `data`; 1: optimiser state split; 2: gradients too; 3: parameters too, FSDP).
    `recompute_layers` is the share of the layers that the backward pass computes again in full, 0 to 1;
    `recompute_attention` computes the attention of the other layers again (selective).
    """

    tensor: Integers
    context: Integers
    stage: Integers
    interleave: Integers  # virtual stages a rank holds; 1: plain 1F1B
    data: Integers
    expert: Integers
    zero: Integers
    sequence_parallel: Flags
    micro_batch: Integers  # sequences
    global_batch: Integers  # sequences an update
    sequence_length: Integers  # tokens
    recompute_layers: Floats
    recompute_attention: Flags
    flash: Flags  # attention without an S x S array
    tensor_overlap: Flags  # tensor-parallel exchanges run beside the products they feed
    data_overlap: Flags  # gradient and parameter exchanges run beside the backward and forward pass

    def __len__(self) -> int:
        return int(np.broadcast_shapes(*(np.shape(getattr(self, f.name)) for f in fields(self)))[0])

    def take(self, indices: Any) -> Self:
        """The layouts at these places, in this order. Scalars stay scalars."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[indices] if np.ndim(v) else v for k, v in picked.items()})

    @property
    def chips(self) -> Integers:
        """Chips that the layout uses."""
        return self.tensor * self.context * self.stage * self.data

    @property
    def micro_batches(self) -> Integers:
        """Micro-batches of each data rank in an update, rounded up."""
        return -(-self.global_batch // (self.micro_batch * self.data))

    @property
    def tokens_per_step(self) -> Integers:
        return self.global_batch * self.sequence_length


def single(
    *,
    tensor: int = 1,
    context: int = 1,
    stage: int = 1,
    interleave: int = 1,
    data: int = 1,
    expert: int = 1,
    zero: int = 0,
    sequence_parallel: bool = False,
    micro_batch: int = 1,
    global_batch: int = 1,
    sequence_length: int = 1,
    recompute_layers: float = 0.0,
    recompute_attention: bool = False,
    flash: bool = True,
    tensor_overlap: bool = False,
    data_overlap: bool = False,
) -> Layouts:
    """One layout, as arrays of one element."""
    return Layouts(**{name: np.array([value]) for name, value in locals().items()})
