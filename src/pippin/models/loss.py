"""Cross-entropy over the vocabulary, some of the tokens at a time.

The logits of a whole batch are the largest array of a small model's step, and reading them several times
takes longer than computing them. Here a chunk of tokens goes from hidden state to loss, and to its part
of the gradients, before the next chunk's logits are computed; a large (B, S, V) array never exists.

Shapes: B batch, S sequence, E model width, V vocabulary, N chunks, C tokens of each row in a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from pippin.models.contraction import contract, product

# Tokens whose logits are held at once: as many as have 32 MiB of them in float32, but no fewer than 512. A
# product of more rows is faster, for each copies the head into another order. With 64 MiB oneDNN's copy of
# the logits no longer fits into a heap of a thread's arena, and is faulted in anew (docs/performance.md).
_CHUNK_BYTES, _CHUNK_TOKENS = 1 << 25, 512


def _same(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Vocabulary:
    """Which rows of the head are at hand, and how the devices that hold the others agree with this one.

    `first_row` takes the number of rows at hand; `largest` and `total` are the maximum and the sum over the
    devices that share the vocabulary.
    """

    first_row: Callable[[int], Array | int] = lambda rows: 0
    largest: Callable[[Array], Array] = _same
    total: Callable[[Array], Array] = _same


WHOLE = Vocabulary()


def token_losses(
    hidden_BSE: Array, head_VE: Array, targets_BS: Array, vocabulary: Vocabulary = WHOLE
) -> Array:
    """Cross-entropy of each token in nats, (B, S) float32. Not meant to be differentiated."""

    rows = head_VE.shape[0]

    def body(carry: None, chunk: tuple[Array, Array]) -> tuple[None, Array]:
        losses, _, _ = _losses(*chunk, head_VE.astype(hidden_BSE.dtype), vocabulary)
        return carry, losses

    _, losses_NBC = lax.scan(body, None, (_chunks(hidden_BSE, rows), _chunks(targets_BS, rows)))
    return _join(losses_NBC)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def mean_loss(
    hidden_BSE: Array,
    head_VE: Array,
    targets_BS: Array,
    z_loss: float,
    count: int | None = None,
    vocabulary: Vocabulary = WHOLE,
) -> tuple[Array, Array]:
    """What training minimises, and the mean cross-entropy in it.

    Args:
        hidden_BSE: the decoder's output, in the compute type.
        head_VE: the head's matrix, float32.
        targets_BS: int32 ids of the next tokens.
        z_loss: weight of the mean squared log-partition (PaLM, arXiv 2204.02311, section 5).
        count: tokens to divide by, those of the global batch where this is a part of it, so that parts add
            up; None: the tokens given.
        vocabulary: which rows of the head these are. The hidden state's gradient is then that of these rows.

    Returns:
        The objective and the mean cross-entropy in nats a token, float32 scalars. Only the objective
        passes a gradient on.
    """
    value, _ = _forward(hidden_BSE, head_VE, targets_BS, z_loss, count, vocabulary)
    return value


def _forward(
    hidden_BSE: Array,
    head_VE: Array,
    targets_BS: Array,
    z_loss: float,
    given_count: int | None,
    vocabulary: Vocabulary,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The losses, with the objective's gradients by hidden state and head computed on the way."""
    count = given_count or targets_BS.size
    head, rows = head_VE.astype(hidden_BSE.dtype), head_VE.shape[0]

    def body(by_head: Array, chunk: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
        hidden, targets = chunk
        losses, log_partition, logits = _losses(hidden, targets, head, vocabulary)
        probabilities = jnp.exp(logits - log_partition[..., None])
        pull = (1 + 2 * z_loss * log_partition)[..., None] * probabilities
        by_logits = ((pull - _is_target(logits, targets, vocabulary)) / count).astype(hidden.dtype)
        by_hidden = contract("bcv,ve->bce", by_logits, head).astype(hidden.dtype)
        return by_head + product("bcv,bce->ve", by_logits, hidden), (losses, log_partition, by_hidden)

    zero = jnp.zeros_like(head_VE, jnp.float32)
    chunks = (_chunks(hidden_BSE, rows), _chunks(targets_BS, rows))
    by_head, (losses, log_partition, by_hidden_NBCE) = lax.scan(body, zero, chunks)
    loss = jnp.sum(losses) / count
    objective = loss + z_loss * jnp.sum(log_partition**2) / count
    return (objective, loss), (_join(by_hidden_NBCE), by_head)


def _backward(
    z_loss: float,
    count: int | None,
    vocabulary: Vocabulary,
    gradients: tuple[Array, Array],
    cotangents: tuple[Array, Array],
) -> tuple[Array, Array, None]:
    by_hidden, by_head = gradients
    scale = cotangents[0]
    return (by_hidden * scale).astype(by_hidden.dtype), by_head * scale, None


mean_loss.defvjp(_forward, _backward)


def _losses(
    hidden_BCE: Array, targets_BC: Array, head_VE: Array, vocabulary: Vocabulary
) -> tuple[Array, Array, Array]:
    """Losses and log-partitions (B, C), and the logits (B, C, V) they come from, all float32.

    The target's score is picked with a comparison rather than a gather.
    """
    logits = contract("bce,ve->bcv", hidden_BCE, head_VE)
    largest = vocabulary.largest(jnp.max(logits, axis=-1))
    scaled_sum = jnp.sum(jnp.exp(logits - largest[..., None]), axis=-1)
    target_score = jnp.sum(logits * _is_target(logits, targets_BC, vocabulary), axis=-1)
    if vocabulary is not WHOLE:
        scaled_sum, target_score = vocabulary.total(jnp.stack([scaled_sum, target_score]))
    log_partition = largest + jnp.log(scaled_sum)
    return log_partition - target_score, log_partition, logits


def _is_target(logits_BCV: Array, targets_BC: Array, vocabulary: Vocabulary) -> Array:
    row = lax.broadcasted_iota(jnp.int32, logits_BCV.shape, logits_BCV.ndim - 1)
    first = vocabulary.first_row(logits_BCV.shape[-1])
    return (row == (targets_BC - first)[..., None]).astype(logits_BCV.dtype)


def _chunks(array_BS: Array, vocabulary_rows: int) -> Array:
    """Splits (B, S, ...) along the sequence into (N, B, C, ...), so that a sharded batch stays sharded."""
    rows, length = array_BS.shape[:2]
    tokens = max(_CHUNK_TOKENS, _CHUNK_BYTES // (4 * vocabulary_rows))
    wanted = max(1, tokens // rows)
    size = max(size for size in range(1, min(wanted, length) + 1) if length % size == 0)
    if size < min(wanted, length) // 4:  # a prime length: better all at once than token by token
        size = length
    split = array_BS.reshape(rows, length // size, size, *array_BS.shape[2:])
    return jnp.moveaxis(split, 1, 0)


def _join(array_NBC: Array) -> Array:
    """Undoes `_chunks`."""
    joined = jnp.moveaxis(array_NBC, 0, 1)
    return joined.reshape(joined.shape[0], -1, *joined.shape[3:])
