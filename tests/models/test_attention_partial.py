"""Attention by parts, as a ring would use it, against attention in one piece."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from pippin.models.attention import Part, Places, merge, naive_attention, part_gradients, partial_attention

BATCH, LENGTH, HEADS, KV_HEADS, WIDTH = 2, 12, 4, 2, 4
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# Every token once, out of order, in pieces of unequal size, as three devices might hold them.
PIECES = [np.array([7, 1, 10, 4]), np.array([0, 2, 11]), np.array([3, 5, 6, 8, 9])]


@pytest.fixture
def inputs() -> tuple[Any, Any, Any, Any]:
    """Queries, keys, values and segments; two documents in a row."""
    generator = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(generator.normal(size=(BATCH, LENGTH, heads, WIDTH)), jnp.float32)
        for heads in (HEADS, KV_HEADS, KV_HEADS)
    )
    return q, k, v, jnp.asarray([[0] * 5 + [1] * 7, [0] * 9 + [1] * 3], jnp.int32)


def places(segments: Any, piece: Any) -> Places:
    return Places(jnp.asarray(piece, jnp.int32), segments[:, piece])


def by_parts(q: Any, k: Any, v: Any, segments: Any, block_size: int) -> Part:
    """Each piece of queries against each piece of keys, put back in order."""
    whole = []
    for rows in PIECES:
        parts = [
            partial_attention(
                q[:, rows], k[:, keys], v[:, keys], places(segments, rows), places(segments, keys), block_size
            )
            for keys in PIECES
        ]
        whole.append(merge(merge(parts[0], parts[1]), parts[2]))
    order = np.argsort(np.concatenate(PIECES))
    mixed, log_sum = (jnp.concatenate(arrays, axis=1)[:, order] for arrays in zip(*whole, strict=True))
    return Part(mixed, log_sum)


def test_merged_parts_equal_the_whole_in_values_and_gradients(inputs: Any) -> None:
    q, k, v, segments = inputs
    pull = np.random.default_rng(1).normal(size=q.shape)

    def run(attention: Any) -> Any:
        return jax.jit(jax.value_and_grad(lambda *qkv: jnp.sum(attention(*qkv) * pull), (0, 1, 2)))(q, k, v)

    parts = run(lambda *qkv: by_parts(*qkv, segments, block_size=3).mixed)
    whole = run(lambda *qkv: naive_attention(*qkv, segments))
    for got, expected in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_gradient_of_the_log_sum(inputs: Any) -> None:
    """The log-sum of a part passes a gradient on, as the merge of parts needs."""
    q, k, v, segments = inputs
    every = places(segments, np.arange(LENGTH))

    def ours(q: Any, k: Any) -> Any:
        return jnp.sum(jnp.sin(partial_attention(q, k, v, every, every, 5).log_sum))

    def written_out(q: Any, k: Any) -> Any:
        scores = jnp.einsum("bshd,bthd->bsht", q, jnp.repeat(k, HEADS // KV_HEADS, axis=2)) * WIDTH**-0.5
        mask = (segments[:, :, None] == segments[:, None]) & np.tri(LENGTH, dtype=bool)
        return jnp.sum(jnp.sin(jax.nn.logsumexp(scores, axis=-1, where=mask[:, :, None])))

    for got, expected in zip(
        jax.jit(jax.grad(ours, (0, 1)))(q, k), jax.grad(written_out, (0, 1))(q, k), strict=True
    ):
        np.testing.assert_allclose(got, expected, **TOLERANCE)


def test_a_query_that_sees_nothing_weighs_nothing(inputs: Any) -> None:
    q, k, v, segments = inputs
    early, late = np.arange(4), np.arange(8, 12)

    def attend(q: Any, k: Any, v: Any) -> Part:
        return partial_attention(
            q[:, early], k[:, late], v[:, late], places(segments, early), places(segments, late)
        )

    part = jax.jit(attend)(q, k, v)
    assert np.all(np.asarray(part.mixed) == 0) and np.all(np.asarray(part.log_sum) <= -1e19)
    gradients = jax.jit(jax.grad(lambda *qkv: jnp.sum(attend(*qkv).mixed), (0, 1, 2)))(q, k, v)
    assert all(np.all(np.asarray(gradient) == 0) for gradient in gradients)
    seen = partial_attention(q, k, v, places(segments, np.arange(12)), places(segments, np.arange(12)))
    apart = Part(part.mixed, part.log_sum), Part(seen.mixed[:, early], seen.log_sum[:, early])
    np.testing.assert_array_equal(merge(*apart).mixed, apart[1].mixed)


def test_gradients_of_a_part_from_the_merged_log_sum(inputs: Any) -> None:
    """What a ring's own backward pass adds up: the pieces' gradients are those of the whole."""
    q, k, v, segments = inputs
    pull = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.float32)
    every = places(segments, np.arange(LENGTH))

    @jax.jit
    def in_one(q: Any, k: Any, v: Any) -> Any:
        whole, backward = jax.vjp(lambda *qkv: partial_attention(*qkv, every, every), q, k, v)
        return whole, backward(Part(pull, jnp.zeros_like(whole.log_sum)))

    whole, expected = in_one(q, k, v)
    shift = jnp.sum(pull * whole.mixed, axis=-1)
    by_q, by_k, by_v = jnp.zeros_like(q), jnp.zeros_like(k), jnp.zeros_like(v)
    for piece in PIECES:
        from_keys = jax.jit(part_gradients, static_argnums=8)(
            q, k[:, piece], v[:, piece], every, places(segments, piece), whole.log_sum, pull, shift, 5
        )
        by_q += from_keys[0]
        by_k, by_v = by_k.at[:, piece].set(from_keys[1]), by_v.at[:, piece].set(from_keys[2])
    for got, wanted in zip((by_q, by_k, by_v), expected, strict=True):
        np.testing.assert_allclose(got, wanted, **TOLERANCE)


def test_runs_inside_shard_map(inputs: Any) -> None:
    """With several blocks, whose loop carries sums that differ from device to device."""
    q, k, v, segments = inputs
    every = places(segments, np.arange(LENGTH))
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    rows, whole = PartitionSpec("data"), PartitionSpec()

    def total(q: Any, k: Any, v: Any) -> Any:
        attend = jax.shard_map(
            lambda q, k, v, queries: partial_attention(q, k, v, queries, queries, 5).mixed,
            mesh=mesh,
            in_specs=(rows, rows, rows, Places(whole, rows)),
            out_specs=rows,
        )
        return jnp.sum(attend(q, k, v, every) ** 2)

    def plain(q: Any, k: Any, v: Any) -> Any:
        return jnp.sum(partial_attention(q, k, v, every, every).mixed ** 2)

    got, expected = (jax.jit(jax.grad(function, (0, 1, 2)))(q, k, v) for function in (total, plain))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, **TOLERANCE)
