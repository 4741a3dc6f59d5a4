from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.models.slots import block_size, block_slots, capacity_slots, combine, dispatch

# Groups, choices, length, experts. Few, because each is compiled.
SIZES = [(1, 1, 1, 3), (3, 2, 7, 5), (2, 3, 4, 3)]
by_capacity = jax.jit(capacity_slots, static_argnums=(1, 2))
by_block = jax.jit(block_slots, static_argnums=(1, 2))
sizes, seeds = st.sampled_from(SIZES), st.integers(0, 10**6)


def some_choices(seed: int, size: tuple[int, int, int, int]) -> np.ndarray:
    """Experts (R, k, S), a token's choices different from each other, now and then all on one expert."""
    groups, choices, length, experts = size
    generator = np.random.default_rng(seed)
    order = np.argsort(generator.random((groups, length, experts)) * (generator.random(experts) + 0.01), -1)
    return np.moveaxis(order[..., :choices], -1, 1).astype(np.int32)


def check(slots: Any, experts: np.ndarray, expert_of_slot: np.ndarray) -> None:
    """Slots and kept choices are each other's, a slot is of its choice's expert, all indices in bounds."""
    groups, _, length = experts.shape
    slot = np.asarray(slots.slot_of_choice).ravel()
    kept, filled = np.asarray(slots.kept).ravel(), np.asarray(slots.filled)
    held, token = np.asarray(slots.choice_of_slot), np.asarray(slots.token_of_slot)
    assert slot.min() >= 0 and slot.max() < len(held)
    assert held.min() >= 0 and held.max() < experts.size
    assert kept.sum() == filled.sum() == len(set(slot[kept].tolist()))
    np.testing.assert_array_equal(held[slot[kept]], np.flatnonzero(kept))
    assert filled[slot[kept]].all()
    np.testing.assert_array_equal(expert_of_slot[slot[kept]], experts.ravel()[kept])
    token_of_choice = np.broadcast_to(
        np.arange(groups)[:, None, None] * length + np.arange(length), experts.shape
    ).ravel()
    np.testing.assert_array_equal(token, token_of_choice[held])


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from([1, 4]))
def test_capacity_slots_are_first_come_first_served(
    seed: int, size: tuple[int, int, int, int], capacity: int
) -> None:
    experts = some_choices(seed, size)
    slots = by_capacity(experts, size[3], capacity)
    check(slots, experts, np.repeat(np.arange(size[3]), size[0] * capacity))
    for row, kept in zip(experts, np.asarray(slots.kept), strict=True):
        by_token = row.T.ravel()
        seen = np.array([np.sum(by_token[:place] == expert) for place, expert in enumerate(by_token)])
        np.testing.assert_array_equal(kept.T.ravel(), seen < capacity)


@settings(max_examples=40, deadline=None)
@given(seeds, sizes, st.sampled_from([1, 3, 8]))
def test_block_slots_drop_nothing(seed: int, size: tuple[int, int, int, int], block: int) -> None:
    experts = some_choices(seed, size)
    slots, expert_J = by_block(experts, size[3], block)
    check(slots, experts, np.repeat(np.asarray(expert_J), block))
    assert np.asarray(slots.kept).all()
    assert (np.diff(np.asarray(expert_J)) >= 0).all()


def test_moves_and_their_gradients_are_those_of_plain_indexing() -> None:
    experts = some_choices(3, (2, 2, 7, 4))
    slots = by_capacity(experts, 4, 2)
    assert not slots.kept.all() and not slots.filled.all()  # both kinds of gaps
    generator = np.random.default_rng(0)
    x, y, weights = (
        jnp.asarray(generator.normal(size=shape), jnp.float32)
        for shape in [(14, 5), (slots.filled.size, 5), (2, 2, 7)]
    )
    pull_slots = jnp.where(slots.filled[:, None], y, 0)  # nothing reads an empty slot

    def plain_combine(y: Any, weights: Any) -> Any:
        picked = y[slots.slot_of_choice] * jnp.where(slots.kept, weights, 0)[..., None]
        return picked.sum(1).reshape(14, 5)

    def same(ours: Any, theirs: Any, pull: Any, *arguments: Any) -> None:
        got, back = jax.vjp(ours, *arguments)
        expected, their_back = jax.vjp(theirs, *arguments)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        for a, b in zip(back(pull), their_back(pull), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    same(lambda x: dispatch(x, slots), lambda x: x[slots.token_of_slot], pull_slots, x)
    same(lambda y, w: combine(y, w, slots), plain_combine, x, y, weights)


def test_blocks_leave_about_an_eighth_empty() -> None:
    assert block_size(8192, 8) == 128
    assert block_size(2, 8) == 8 and block_size(10**9, 8) == 512
    assert 8 * block_size(8192, 8) / 8192 == pytest.approx(1 / 8)
