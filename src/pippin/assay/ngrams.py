"""Bits per byte of held-out text by counts over the same tokens that the model reads.

The stream of training tokens is `[0, ids..., 0, ids...]`: the boundary (id 0) opens each document. A context
never reaches over a boundary: the first token of a document follows (0, 0), the second (0, first). A boundary
that ends a document is a token to learn from, as it is for the model; on held-out text it is never scored.
Nothing is tuned on held-out text.

An n-gram is one uint64 of 21 bits a token, the last token lowest, so that sorting groups by context.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.integer[Any]]
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

BOUNDARY = 0
_TOKEN_BITS = np.uint64(21)
_BIGRAM_MASK = np.uint64(2**42 - 1)
_TOKEN_MASK = np.uint64(2**21 - 1)
# Discounts for too few n-grams to estimate them, as KenLM's `--discount_fallback` has them.
_FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


def unigram_bits_per_byte(
    train_tokens: Tokens, documents: Iterable[Tokens], vocab_size: int, utf8_bytes: int
) -> float:
    """Bits per byte by token frequencies, smoothed by adding one (Laplace): (count + 1) / (total + vocab).

    Args:
        train_tokens: [tokens] the training stream, boundaries included.
        documents: the held-out documents' ids, [tokens] each, without boundaries; each id is scored once.
        vocab_size: number of token ids, the boundary included.
        utf8_bytes: bytes of all documents as UTF-8.

    Raises:
        ValueError: an id outside the vocabulary, a boundary inside a document, or `utf8_bytes` not positive.
    """
    tokens = _token_keys(_trigram_keys(train_tokens, vocab_size))
    counts = np.bincount(tokens, minlength=vocab_size)
    bits = -np.log2((counts + 1) / (len(tokens) + vocab_size))
    scored = _token_keys(_held_out_keys(documents, vocab_size))
    return float(bits[scored].sum()) / _positive(utf8_bytes)


def trigram_bits_per_byte(
    train_tokens: Tokens, documents: Iterable[Tokens], vocab_size: int, utf8_bytes: int
) -> float:
    """Bits per byte by trigrams with interpolated modified Kneser-Ney smoothing; see `TrigramCounts`.

    Takes under a second and about 50 MB for a million training tokens. Arguments and errors are those of
    `unigram_bits_per_byte`.
    """
    model = TrigramCounts.of(train_tokens, vocab_size)
    scored = _held_out_keys(documents, vocab_size)
    return float(-np.log2(model.probability(scored)).sum()) / _positive(utf8_bytes)


@dataclass(frozen=True)
class _Order:
    """One order of the model: sorted n-grams and contexts, and what each contributes.

    Args:
        keys: [n-grams] sorted.
        seen: [n-grams] (count - discount) / count of the context.
        contexts: [contexts] sorted keys without their last token.
        backoffs: [contexts] the weight of the next lower order.
    """

    keys: Keys
    seen: Floats
    contexts: Keys
    backoffs: Floats

    @classmethod
    def of(cls, occurrences: Keys) -> _Order:
        """Counts the keys, each as often as it occurs, and discounts the counts."""
        keys, counts = np.unique(occurrences, return_counts=True)
        contexts, starts = np.unique(keys >> _TOKEN_BITS, return_index=True)
        taken = np.array((0.0, *discounts(counts)))[np.minimum(counts, 3)]
        totals = np.add.reduceat(counts, starts) if len(starts) else np.zeros(0, np.int64)
        backoffs = np.add.reduceat(taken, starts) / totals if len(starts) else np.zeros(0)
        sizes = np.diff(np.append(starts, len(keys)))
        return cls(keys, (counts - taken) / np.repeat(totals, sizes), contexts, backoffs)

    def interpolate(self, keys: Keys, lower: Floats) -> Floats:
        """P(last token | context), given the lower order's. A context never seen leaves it as it is."""
        seen = _look_up(self.keys, self.seen, keys, default=0.0)
        backoff = _look_up(self.contexts, self.backoffs, keys >> _TOKEN_BITS, default=1.0)
        return seen + backoff * lower


@dataclass(frozen=True)
class TrigramCounts:
    """Interpolated modified Kneser-Ney trigrams (Chen and Goodman 1998, TR-10-98, section 4.1.6).

    Trigrams have their counts, bigrams and unigrams the number of distinct tokens seen before them; the
    unigrams are interpolated with 1 / vocab_size, so that every token has a probability in every context.
    """

    orders: tuple[_Order, _Order, _Order]
    vocab_size: int

    @classmethod
    def of(cls, train_tokens: Tokens, vocab_size: int) -> TrigramCounts:
        """Counts a training stream, [tokens] with boundaries.

        Raises:
            ValueError: an id outside the vocabulary, or a vocabulary of more than 2^21.
        """
        trigrams = _Order.of(_trigram_keys(train_tokens, vocab_size))
        bigrams = _Order.of(trigrams.keys & _BIGRAM_MASK)
        unigrams = _Order.of(bigrams.keys & _TOKEN_MASK)
        return cls((unigrams, bigrams, trigrams), vocab_size)

    def probability(self, keys: Keys) -> Floats:
        """P(token | two tokens before it) of packed trigrams, [trigrams]; see `pack`."""
        probability = np.full(len(keys), 1 / self.vocab_size)
        for order, mask in zip(self.orders, (_TOKEN_MASK, _BIGRAM_MASK, ~np.uint64(0)), strict=True):
            probability = order.interpolate(keys & mask, probability)
        return probability


def pack(two_before: Tokens, before: Tokens, tokens: Tokens) -> Keys:
    """Trigrams as uint64 keys, [tokens]. Ids must be below 2^21."""
    high = (two_before.astype(np.uint64) << _TOKEN_BITS) | before.astype(np.uint64)
    return (high << _TOKEN_BITS) | tokens.astype(np.uint64)


def discounts(counts: NDArray[np.int64]) -> tuple[float, float, float]:
    """What is taken from a count of 1, of 2 and of 3 or more, by the counts of counts.

    Chen and Goodman's estimate; a fixed fallback where there are too few n-grams for it.
    """
    ones, twos, threes, fours = (int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4))
    if not (ones and twos and threes):
        return _FALLBACK_DISCOUNTS
    share = ones / (ones + 2 * twos)
    estimate = (share, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes)
    # Every discount must take something, or an unseen token would have no probability left to it.
    return estimate if min(estimate) > 0 else _FALLBACK_DISCOUNTS


def _trigram_keys(stream: Tokens, vocab_size: int) -> Keys:
    """Packed trigrams of a stream, one for each token that follows a boundary or another token."""
    if not 0 < vocab_size <= 2**21:
        raise ValueError(f"a vocabulary of {vocab_size}: it must have 1 to {2**21} ids")
    if len(stream) and not 0 <= int(stream.min()) <= int(stream.max()) < vocab_size:
        raise ValueError(f"token ids {stream.min()} to {stream.max()} in a vocabulary of {vocab_size}")
    padded = np.concatenate([np.full(2, BOUNDARY, np.uint32), stream.astype(np.uint32)])
    tokens, before = padded[2:], padded[1:-1]
    two_before = np.where(before == BOUNDARY, np.uint32(BOUNDARY), padded[:-2])
    # A boundary after a boundary is the start of the stream or of an empty document: nothing to predict.
    keep = (tokens != BOUNDARY) | (before != BOUNDARY)
    return pack(two_before[keep], before[keep], tokens[keep])


def _held_out_keys(documents: Iterable[Tokens], vocab_size: int) -> Keys:
    """Packed trigrams of the documents, one for each of their tokens."""
    parts: list[Tokens] = []
    for document in documents:
        if (document == BOUNDARY).any():
            raise ValueError("a held-out document has a boundary token inside it")
        parts += [np.array([BOUNDARY]), document.astype(np.int64)]
    keys = _trigram_keys(np.concatenate(parts) if parts else np.zeros(0, np.int64), vocab_size)
    is_scored: NDArray[np.bool_] = (keys & _TOKEN_MASK) != BOUNDARY
    return keys[is_scored]


def _token_keys(keys: Keys) -> NDArray[np.int64]:
    return (keys & _TOKEN_MASK).astype(np.int64)


def _look_up(table: Keys, values: Floats, wanted: Keys, *, default: float) -> Floats:
    """The value of each wanted key, or `default` where the sorted table has it not."""
    if not len(table):
        return np.full(len(wanted), default)
    places = np.minimum(np.searchsorted(table, wanted), len(table) - 1)
    return np.where(table[places] == wanted, values[places], default)


def _positive(utf8_bytes: int) -> int:
    if utf8_bytes <= 0:
        raise ValueError(f"held-out text of {utf8_bytes} bytes")
    return utf8_bytes
