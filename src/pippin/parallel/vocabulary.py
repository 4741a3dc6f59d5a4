"""Both ends of the model where the vocabulary is split: each device holds some rows of the tables.

Splitting over the pipeline's stages too is vocabulary parallelism (arXiv 2411.05288): no stage idles while
another computes the head.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from pippin.models.loss import WHOLE, Vocabulary
from pippin.parallel.exchange import Exchange

_AXES = ("stage", "tensor")


def look_up_part(exchange: Exchange, table_VE: Array, tokens_BS: Array) -> Array:
    """What the rows at hand give, (B, S, E), zero for other tokens: to be added up over the devices."""
    if not exchange.degrees.active(*_AXES):
        return table_VE[tokens_BS]
    rows = table_VE.shape[0]
    local_BS = tokens_BS - exchange.index(*_AXES) * rows
    held_BS = (local_BS >= 0) & (local_BS < rows)
    found = table_VE[jnp.clip(local_BS, 0, rows - 1)]
    return jnp.where(held_BS[..., None], found, jnp.zeros_like(found))


def split_vocabulary(exchange: Exchange) -> Vocabulary:
    """How the loss is computed over the rows of all devices."""
    if not exchange.degrees.active(*_AXES):
        return WHOLE
    return Vocabulary(
        first_row=lambda rows: exchange.index(*_AXES) * rows,
        largest=lambda x: exchange.max(x, *_AXES),
        total=lambda x: exchange.sum(x, *_AXES),
    )
