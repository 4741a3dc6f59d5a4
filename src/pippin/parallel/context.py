"""Sequences that are split over devices: ring attention (arXiv 2310.01889) in zig-zag order.

A sequence is cut into twice as many pieces as there are devices; device r holds pieces r and 2C - 1 - r. Then
every device has the same work, and none of it is masked away: of two pieces that meet, one lies wholly before
the other, unless they are the same. Keys and values travel around the ring, one place a turn, while the piece
at hand is worked on; backward sends them round again, with their gradients.

Shapes: B batch, S places of this device, P = S / 2 of a piece, C devices of the ring, H query heads, K
key-value heads, D head width.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pippin.models.attention import Attention, Part, Places, merge, part_gradients, partial_attention
from pippin.parallel.exchange import Exchange


def order(length: int, degree: int) -> np.ndarray | None:
    """Where each place of the zig-zag order stands in the sequence, (length,); None: nothing moves."""
    if degree == 1:
        return None
    pieces = np.arange(length, dtype=np.int64).reshape(2 * degree, -1)
    return np.concatenate([pieces[[rank, 2 * degree - 1 - rank]].ravel() for rank in range(degree)])


def positions(exchange: Exchange, length: int) -> Array | None:
    """Places in the sequence of what this device holds, (S,) int32; None: from 0 on."""
    if exchange.degrees.context == 1:
        return None
    return _positions_of(exchange, jnp.asarray(exchange.index("context")), length)


def attention(exchange: Exchange, backend: Attention) -> Attention:
    """The backend where sequences are whole, else the ring."""
    return backend if exchange.degrees.context == 1 else partial(_ring, exchange)


class _Keys(NamedTuple):
    """A piece of the sequence as others look at it."""

    keys: Array  # (B, P, K, D)
    values: Array  # (B, P, K, D)
    places: Places


class _Queries(NamedTuple):
    """A piece of the sequence as it looks at others; the last three are for the backward pass."""

    queries: Array  # (B, P, H, D)
    places: Places
    log_sum: Array | None = None  # (B, P, H): over all keys
    pull: Array | None = None  # (B, P, H, D): gradient by the mixture
    shift: Array | None = None  # (B, P, H): the sum over D of mixture times pull


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _ring(exchange: Exchange, q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array) -> Array:
    return _forward(exchange, q_BSHD, k_BSKD, v_BSKD, segments_BS)[0]


def _forward(
    exchange: Exchange, q_BSHD: Array, k_BSKD: Array, v_BSKD: Array, segments_BS: Array
) -> tuple[Array, Any]:
    places = _places(exchange, segments_BS, 0)
    queries = [_Queries(q, place) for q, place in zip(_pieces(q_BSHD), places, strict=True)]
    held = (k_BSKD, v_BSKD, segments_BS)
    here = _keys(exchange, held, 0)
    found = [_mix(queries[0], here[0]), merge(_mix(queries[1], here[0]), _mix(queries[1], here[1]))]
    for turn in range(1, exchange.degrees.context):
        held = exchange.shift(held, "context")
        there, before = _keys(exchange, held, turn), _comes_before(exchange, turn)
        found[1] = merge(found[1], _mix(queries[1], there[0]))
        merged = merge(_pick(before, found), _mix(_pick(before, queries), _pick(before, there)))
        found = [_choose(before, merged, found[0]), _choose(before, found[1], merged)]
    out_BSHD = jnp.concatenate([part.mixed for part in found], axis=1).astype(q_BSHD.dtype)
    log_sum_BSH = jnp.concatenate([part.log_sum for part in found], axis=1)
    return out_BSHD, (q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum_BSH)


def _backward(exchange: Exchange, kept: Any, pull_BSHD: Array) -> tuple[Array, Array, Array, None]:
    q_BSHD, k_BSKD, v_BSKD, segments_BS, out_BSHD, log_sum_BSH = kept
    shift_BSH = jnp.sum(pull_BSHD.astype(jnp.float32) * out_BSHD.astype(jnp.float32), axis=-1)
    places = _places(exchange, segments_BS, 0)
    asked = zip(_pieces(q_BSHD), places, *map(_pieces, (log_sum_BSH, pull_BSHD, shift_BSH)), strict=True)
    queries = [_Queries(*each) for each in asked]
    held = (k_BSKD, v_BSKD, segments_BS)
    here = _keys(exchange, held, 0)
    first, across, second = (_pull(queries[m], here[t]) for m, t in ((0, 0), (1, 0), (1, 1)))
    by_q = [first[0], across[0] + second[0]]
    by_held = [jax.tree.map(jnp.add, first[1:], across[1:]), second[1:]]
    for turn in range(1, exchange.degrees.context):
        held, by_held = exchange.shift((held, by_held), "context")
        there, before = _keys(exchange, held, turn), _comes_before(exchange, turn)
        whole = _pull(queries[1], there[0])
        by_q[1], by_held[0] = by_q[1] + whole[0], jax.tree.map(jnp.add, by_held[0], whole[1:])
        other = _pull(_pick(before, queries), _pick(before, there))
        by_q, by_held = _add(before, by_q, other[0]), _add(before, by_held, other[1:])
    by_held = exchange.shift(by_held, "context")  # home
    by_k, by_v = zip(*by_held, strict=True)
    q, k, v = (jnp.concatenate(pair, axis=1).astype(q_BSHD.dtype) for pair in (by_q, by_k, by_v))
    return q, k, v, None


_ring.defvjp(_forward, _backward)


def _mix(queries: _Queries, keys: _Keys) -> Part:
    return partial_attention(queries.queries, keys.keys, keys.values, queries.places, keys.places)


def _pull(queries: _Queries, keys: _Keys) -> tuple[Array, Array, Array]:
    """What this meeting adds to the gradients by queries, keys and values."""
    assert queries.log_sum is not None and queries.pull is not None and queries.shift is not None
    return part_gradients(
        queries.queries,
        keys.keys,
        keys.values,
        queries.places,
        keys.places,
        queries.log_sum,
        queries.pull,
        queries.shift,
    )


def _keys(exchange: Exchange, held: tuple[Array, Array, Array], turn: int) -> list[_Keys]:
    """Both pieces of what has arrived after so many turns."""
    keys, values, segments = held
    pieces = zip(_pieces(keys), _pieces(values), _places(exchange, segments, turn), strict=True)
    return [_Keys(*piece) for piece in pieces]


def _places(exchange: Exchange, segments_BS: Array, turn: int) -> list[Places]:
    """Of both pieces that have arrived after so many turns; after none, this device's own."""
    rank = (jnp.asarray(exchange.index("context")) - turn) % exchange.degrees.context
    length = segments_BS.shape[1]
    whole = Places(_positions_of(exchange, rank, length), segments_BS)
    return [whole.slice(0, length // 2), whole.slice(length // 2, length)]


def _positions_of(exchange: Exchange, rank: Array, length: int) -> Array:
    half, count = length // 2, exchange.degrees.context
    within = jnp.arange(half, dtype=jnp.int32)
    return jnp.concatenate([within + rank * half, within + (2 * count - 1 - rank) * half])


def _pieces(x: Array) -> list[Array]:
    half = x.shape[1] // 2
    return [x[:, :half], x[:, half:]]


def _comes_before(exchange: Exchange, turn: int) -> Array:
    """Whether what arrived on this turn started on a device of lower rank.

    Then our first piece looks at their first, else our second at their second: the other way round all
    would be masked.
    """
    return jnp.asarray(exchange.index("context") >= turn)


def _choose(first: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(first, a, b), one, other)


def _pick(first: Array, pair: list[Any]) -> Any:
    return _choose(first, pair[0], pair[1])


def _add(first: Array, pair: list[Any], more: Any) -> list[Any]:
    """Adds to the first or to the second."""
    nothing = jax.tree.map(jnp.zeros_like, more)
    added = (_choose(first, more, nothing), _choose(first, nothing, more))
    return [jax.tree.map(jnp.add, held, extra) for held, extra in zip(pair, added, strict=True)]
