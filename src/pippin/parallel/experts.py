"""Experts that are split over devices: tokens travel to the devices that hold their experts, and back.

Both ways are one all-to-all of a static size. With a capacity an expert takes so many choices of each
sequence. Without (dropless) it must take what may come: a token chooses an expert at most once, so as many
slots as the sequence has places drop none, at num_experts / top_k times the buffers and products that an
even load would need.

Shapes: B batch, S sequence, E model width, X experts, C slots of an expert for one sequence.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax import Array

from pippin.models.config import MoEConfig
from pippin.models.functions import Experts, Parameters
from pippin.models.moe import Routing, expert_capacity, expert_rows, mixture_of_experts
from pippin.models.slots import capacity_slots, combine, dispatch
from pippin.parallel.exchange import Exchange


def experts(exchange: Exchange) -> Experts:
    """All experts at hand, or the exchange."""
    if exchange.degrees.expert == 1:
        return mixture_of_experts
    return partial(mixture_of_experts, exchange=partial(_there_and_back, exchange))


def _there_and_back(
    exchange: Exchange, h_BSE: Array, routing: Routing, layer: Parameters, moe: MoEConfig
) -> tuple[Array, Array]:
    length, width = h_BSE.shape[1:]
    capacity = length if moe.capacity_factor is None else expert_capacity(moe, length, moe.num_experts)
    slots = capacity_slots(routing.experts, moe.num_experts, capacity)
    rows_XCE = dispatch(h_BSE.reshape(-1, width), slots).reshape(moe.num_experts, -1, width)
    mixed = expert_rows(exchange.swap(rows_XCE, "expert", split=0, join=1), layer)
    back_XCE = exchange.swap(mixed, "expert", split=1, join=0)
    out_TE = combine(back_XCE.reshape(-1, width), routing.weights, slots)
    return out_TE.reshape(h_BSE.shape), jnp.sum(~slots.kept, dtype=jnp.float32)
