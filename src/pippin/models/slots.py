"""Where each choice of the router is computed: a static number of slots, in the order of the experts.

A choice is one (token, expert) pair. Moves between tokens and slots are gathers in both directions, forward
and backward, so that no wide array is scattered, and every index is in bounds. The order comes from one sort
of one integer per choice (expert x choices + place), not from a two-operand sort or a running count.

Shapes: R groups of S tokens, k choices a token, N = k S choices of a group, T = R S tokens, X experts,
M slots, J blocks of C slots, E model width.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Slots(NamedTuple):
    """Which choice a slot holds, and back.

    A slot that is not `filled` holds some token whose result nobody reads; a choice that is not `kept` was
    dropped, and points at some slot that is not its own.
    """

    token_of_slot: Array  # (M,) int32, of T
    choice_of_slot: Array  # (M,) int32, of R k S
    filled: Array  # (M,) bool
    slot_of_choice: Array  # (R, k, S) int32, of M
    kept: Array  # (R, k, S) bool


class _Order(NamedTuple):
    """Choices by expert, first come first: `ordered[r, starts[r, e] + rank]` is a choice of e."""

    ordered: Array  # (R, N) int32
    ranks: Array  # (R, N) int32, of a choice among those of its expert
    counts: Array  # (R, X) int32
    starts: Array  # (R, X) int32


def capacity_slots(experts_RkS: Array, num_experts: int, capacity: int) -> Slots:
    """`capacity` slots for each expert and group, expert first; what does not fit is dropped.

    The earlier token of a group comes first, with all its choices: what is dropped of a token depends on none
    after it, so that no knowledge of later tokens leaks into the model.
    """
    groups, choices, length = experts_RkS.shape
    order = _sort(experts_RkS, num_experts)
    group_R = jnp.arange(groups, dtype=jnp.int32)
    rank_C = jnp.arange(capacity, dtype=jnp.int32)
    place_RXC = jnp.minimum(order.starts[..., None] + rank_C, choices * length - 1)
    held_RXC = order.ordered[group_R[:, None, None], place_RXC] + group_R[:, None, None] * choices * length
    rank_RkS = order.ranks.reshape(experts_RkS.shape)
    first_RkS = (experts_RkS * groups + group_R[:, None, None]) * capacity
    return _slots(
        jnp.moveaxis(held_RXC, 0, 1),
        filled=jnp.moveaxis(rank_C < order.counts[..., None], 0, 1),
        slot_RkS=first_RkS + jnp.minimum(rank_RkS, capacity - 1),
        kept_RkS=rank_RkS < capacity,
    )


def block_slots(experts_RkS: Array, num_experts: int, block: int) -> tuple[Slots, Array]:
    """A slot for every choice, in blocks of `block` that belong to one expert each; and each block's expert.

    There are as many blocks as the worst split needs: each expert may leave one block partly empty.
    """
    num_choices = experts_RkS.size
    order = _sort(experts_RkS.reshape(1, 1, -1), num_experts)
    count_X, start_X = order.counts[0], order.starts[0]
    blocks_X = (count_X + (block - 1)) // block
    first_X = _exclusive_sum(blocks_X)
    index_J = jnp.arange(num_choices // block + min(num_experts, num_choices), dtype=jnp.int32)
    passed_JX = index_J[:, None] >= (first_X + blocks_X)[None]
    # Blocks past the last choice go to the last expert, and are empty.
    expert_J = jnp.minimum(jnp.sum(passed_JX, axis=1, dtype=jnp.int32), num_experts - 1)
    rank_JC = (index_J - first_X[expert_J])[:, None] * block + jnp.arange(block, dtype=jnp.int32)
    held_JC = order.ordered[0][jnp.minimum(start_X[expert_J][:, None] + rank_JC, num_choices - 1)]
    slots = _slots(
        held_JC,
        filled=rank_JC < count_X[expert_J][:, None],
        slot_RkS=first_X[experts_RkS] * block + order.ranks.reshape(experts_RkS.shape),
        kept_RkS=jnp.ones(experts_RkS.shape, bool),
    )
    return slots, expert_J


def block_size(num_choices: int, num_experts: int) -> int:
    """Rows of a block: a power of two from 8 to 512 that leaves about an eighth of the slots empty."""
    wanted = max(1.0, num_choices / (8 * num_experts))
    return int(2 ** min(9, max(3, round(math.log2(wanted)))))


@jax.custom_vjp
def dispatch(x_TE: Array, slots: Slots) -> Array:
    """The token of each slot, (M, E)."""
    return x_TE[slots.token_of_slot]


def _dispatch_forward(x_TE: Array, slots: Slots) -> tuple[Array, Slots]:
    return dispatch(x_TE, slots), slots


def _dispatch_backward(slots: Slots, gradient_ME: Array) -> tuple[Array, None]:
    return _gather_choices(gradient_ME, slots.kept.astype(jnp.float32), slots), None


dispatch.defvjp(_dispatch_forward, _dispatch_backward)


@jax.custom_vjp
def combine(y_ME: Array, weights_RkS: Array, slots: Slots) -> Array:
    """The weighted sum of each token's kept choices, (T, E) in the type of `y_ME`; weights are float32."""
    return _gather_choices(y_ME, jnp.where(slots.kept, weights_RkS, 0), slots)


def _combine_forward(y_ME: Array, weights_RkS: Array, slots: Slots) -> tuple[Array, Any]:
    return combine(y_ME, weights_RkS, slots), (y_ME, weights_RkS, slots)


def _combine_backward(kept: Any, gradient_TE: Array) -> tuple[Array, Array, None]:
    y_ME, weights_RkS, slots = kept
    weight_M = jnp.where(slots.filled, weights_RkS.reshape(-1)[slots.choice_of_slot], 0)
    by_y_ME = gradient_TE[slots.token_of_slot].astype(jnp.float32) * weight_M[:, None]
    groups, choices, length = weights_RkS.shape
    gradient_RSE = gradient_TE.reshape(groups, length, -1).astype(jnp.float32)
    by_weights = [
        jnp.sum(y_ME[slots.slot_of_choice[:, c]].astype(jnp.float32) * gradient_RSE, axis=-1)
        for c in range(choices)
    ]
    by_weights_RkS = jnp.where(slots.kept, jnp.stack(by_weights, axis=1), 0)
    return by_y_ME.astype(y_ME.dtype), by_weights_RkS, None


combine.defvjp(_combine_forward, _combine_backward)


def _gather_choices(y_ME: Array, weights_RkS: Array, slots: Slots) -> Array:
    """Sums weighted slots token by token, one choice after the other: (T, E)."""
    total = jnp.zeros((), jnp.float32)
    for c in range(weights_RkS.shape[1]):
        rows_RSE = y_ME[slots.slot_of_choice[:, c]].astype(jnp.float32)
        total = total + weights_RkS[:, c, :, None] * rows_RSE
    return total.reshape(-1, y_ME.shape[-1]).astype(y_ME.dtype)


def _slots(held: Array, filled: Array, slot_RkS: Array, kept_RkS: Array) -> Slots:
    _, choices, length = slot_RkS.shape
    held_M = held.reshape(-1)
    token_M = held_M // (choices * length) * length + held_M % length
    return Slots(token_M, held_M, filled.reshape(-1), slot_RkS, kept_RkS)


def _sort(experts_RkS: Array, num_experts: int) -> _Order:
    groups, per_token, length = experts_RkS.shape
    experts_RN, choices = experts_RkS.reshape(groups, -1), per_token * length
    if num_experts * choices >= 2**31:
        raise ValueError(f"{choices} choices among {num_experts} experts are more than an int32 can order")
    index_N = jnp.arange(choices, dtype=jnp.int32)
    place_N = index_N % length * per_token + index_N // length  # token by token
    keys_RN = jnp.sort(experts_RN * choices + place_N, axis=-1)
    placed_RN = keys_RN % choices
    sorted_RN = placed_RN % per_token * length + placed_RN // per_token
    count_RX = jnp.sum(
        experts_RN[..., None] == jnp.arange(num_experts, dtype=jnp.int32), axis=1, dtype=jnp.int32
    )
    start_RX = _exclusive_sum(count_RX)
    group_R1 = jnp.arange(groups, dtype=jnp.int32)[:, None]
    rank_sorted_RN = index_N - start_RX[group_R1, keys_RN // choices]
    rank_RN = jnp.zeros_like(experts_RN).at[group_R1, sorted_RN].set(rank_sorted_RN, unique_indices=True)
    return _Order(sorted_RN, rank_RN, count_RX, start_RX)


def _exclusive_sum(counts: Array) -> Array:
    """Sum of the entries before each, over the last and short dimension."""
    size = counts.shape[-1]
    before = jnp.arange(size)[:, None] > jnp.arange(size)[None]
    return jnp.sum(jnp.where(before, counts[..., None, :], 0), axis=-1, dtype=counts.dtype)
