"""Counts over tokens: every token scored once, probabilities that sum to one, the textbook's values."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pippin.assay.ngrams import (
    TrigramCounts,
    discounts,
    pack,
    trigram_bits_per_byte,
    unigram_bits_per_byte,
)

VOCAB = 7
documents_of_ids = st.lists(st.lists(st.integers(1, VOCAB - 1), max_size=30), max_size=8)


def stream_of(documents: list[list[int]]) -> np.ndarray:
    return np.array([token for document in documents for token in (0, *document)], np.uint16)


def events(documents: list[list[int]], *, ends: bool) -> list[tuple[int, int, int]]:
    """(two before, before, token) of every token; with `ends` also the boundary that follows a document."""
    found = []
    for index, document in enumerate(documents):
        closed = ends and document and index < len(documents) - 1
        padded = [0, 0, *document, *([0] if closed else [])]
        found += list(zip(padded, padded[1:], padded[2:], strict=False))
    return found


class DictKneserNey:
    """Interpolated modified Kneser-Ney written out with dictionaries."""

    def __init__(self, documents: list[list[int]]) -> None:
        trigrams = Counter(events(documents, ends=True))
        bigrams = Counter((v, w) for _, v, w in trigrams)
        unigrams = Counter((w,) for _, w in bigrams)
        self.orders = []
        for counts in (unigrams, bigrams, trigrams):
            by_context = defaultdict(dict)
            for gram, count in counts.items():
                by_context[gram[:-1]][gram[-1]] = count
            self.orders.append((by_context, self.discounts_of(counts)))

    @staticmethod
    def discounts_of(counts: Counter) -> tuple[float, float, float]:
        n = Counter(counts.values())
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            estimate = (y, 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
            if all(value > 0 for value in estimate):
                return estimate
        return (0.5, 1.0, 1.5)

    def probability(self, u: int, v: int, w: int) -> float:
        p = 1 / VOCAB
        for context, (by_context, taken) in zip(((), (v,), (u, v)), self.orders, strict=True):
            followers = by_context.get(context)
            if followers:
                total = sum(followers.values())
                backoff = sum(taken[min(count, 3) - 1] for count in followers.values()) / total
                count = followers.get(w, 0)
                p = (count - taken[min(count, 3) - 1] if count else 0) / total + backoff * p
        return p


def every_trigram(vocab: int) -> np.ndarray:
    grid = np.indices((vocab, vocab, vocab)).reshape(3, -1)
    return pack(*grid)


@settings(deadline=None, max_examples=60)
@given(documents_of_ids)
def test_agrees_with_dictionaries_and_sums_to_one_in_every_context(documents):
    model = TrigramCounts.of(stream_of(documents), VOCAB)
    probability = model.probability(every_trigram(VOCAB)).reshape(VOCAB, VOCAB, VOCAB)
    assert (probability > 0).all()
    np.testing.assert_allclose(probability.sum(axis=-1), 1, rtol=1e-12)
    oracle = DictKneserNey(documents)
    expected = [oracle.probability(u, v, w) for u in range(VOCAB) for v in range(VOCAB) for w in range(VOCAB)]
    np.testing.assert_allclose(probability.ravel(), expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_where_discounts_are_estimated(seed):
    """A Zipf-like stream has enough single, double and triple n-grams to need no fallback."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCAB)
    documents = [
        generator.choice(np.arange(1, VOCAB), size=60, p=weights / weights.sum()).tolist() for _ in range(4)
    ]
    assert DictKneserNey(documents).orders[2][1] != (0.5, 1.0, 1.5)
    model = TrigramCounts.of(stream_of(documents), VOCAB)
    probability = model.probability(every_trigram(VOCAB)).reshape(VOCAB, VOCAB, VOCAB)
    np.testing.assert_allclose(probability.sum(axis=-1), 1, rtol=1e-12)
    oracle = DictKneserNey(documents)
    expected = [oracle.probability(u, v, w) for u in range(VOCAB) for v in range(VOCAB) for w in range(VOCAB)]
    np.testing.assert_allclose(probability.ravel(), expected, rtol=1e-10)


@settings(deadline=None, max_examples=60)
@given(documents_of_ids, documents_of_ids)
def test_bits_per_byte_are_the_sum_over_every_token(training, held_out):
    arrays = [np.array(document, np.uint16) for document in held_out]
    oracle = DictKneserNey(training)
    bits = -sum(math.log2(oracle.probability(*event)) for event in events(held_out, ends=False))
    measured = trigram_bits_per_byte(stream_of(training), iter(arrays), VOCAB, 11)
    assert measured == pytest.approx(bits / 11, rel=1e-10, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(documents_of_ids, documents_of_ids)
def test_unigram_is_the_formula(training, held_out):
    counts = Counter(w for _, _, w in events(training, ends=True))
    total = sum(counts.values())
    tokens = [token for document in held_out for token in document]
    bits = -sum(math.log2((counts[token] + 1) / (total + VOCAB)) for token in tokens)
    arrays = [np.array(document, np.int32) for document in held_out]
    measured = unigram_bits_per_byte(stream_of(training), arrays, VOCAB, 5)
    assert measured == pytest.approx(bits / 5, rel=1e-10, abs=1e-12)


@settings(deadline=None)
@given(documents_of_ids)
def test_untrained_counts_are_uniform_and_score_every_token_once(held_out):
    arrays = [np.array(document, np.uint16) for document in held_out]
    expected = sum(map(len, held_out)) * math.log2(VOCAB)
    nothing = np.zeros(0, np.uint16)
    for score in (unigram_bits_per_byte, trigram_bits_per_byte):
        assert score(nothing, arrays, VOCAB, 1) == pytest.approx(expected, abs=1e-9)


def test_unigram_of_its_own_text_tends_to_the_entropy():
    document = np.array([1] * 40_000 + [2] * 20_000 + [3] * 20_000)
    measured = unigram_bits_per_byte(np.append(0, document), [document], 4, len(document))
    assert measured == pytest.approx(1.5, abs=1e-3)


def test_a_hand_made_case():
    """Training `a b a b`: four trigrams once each but (a b a), all of the fallback's discounts.

    Trigrams: (0 0 a) (0 a b) (a b a) (b a b), each once. Bigrams, by distinct tokens before:
    (0 a) 1, (a b) 2, (b a) 1. Unigrams, by distinct tokens before: a 2, b 1.
    """
    a, b, vocab = 1, 2, 3
    model = TrigramCounts.of(np.array([0, a, b, a, b]), vocab)
    p_a = (2 - 1.0) / 3 + (1.0 + 0.5) / 3 / vocab
    p_a_after_b = (1 - 0.5) / 1 + 0.5 * p_a
    p_a_after_ab = (1 - 0.5) / 1 + 0.5 * p_a_after_b
    keys = pack(np.array([a, b]), np.array([b, b]), np.array([a, a]))
    np.testing.assert_allclose(model.probability(keys), [p_a_after_ab, p_a_after_b], rtol=1e-12)


def test_contexts_stop_at_the_boundary():
    """A document's first tokens are predicted alike whatever document came before in the stream."""
    held_out = [np.array([1, 2])]
    other = [np.array([3, 3, 3, 3]), np.array([1, 2])]
    training = stream_of([[1, 2, 4], [1, 2, 5], [1, 3]])
    alone = trigram_bits_per_byte(training, held_out, VOCAB, 1)
    before = trigram_bits_per_byte(training, other[:1], VOCAB, 1)
    assert trigram_bits_per_byte(training, other, VOCAB, 1) == pytest.approx(alone + before, rel=1e-12)


def test_trigrams_learn_what_unigrams_cannot():
    document = np.tile([1, 2, 3, 4], 500)
    training = np.append(0, document)
    assert unigram_bits_per_byte(training, [document], 5, len(document)) > 1.9
    assert trigram_bits_per_byte(training, [document], 5, len(document)) < 0.05


def test_discounts_are_chen_and_goodmans():
    counts = np.repeat([1, 2, 3, 4], [40, 20, 10, 5])
    assert discounts(counts) == pytest.approx((0.5, 2 - 1.5 * 10 / 20, 3 - 2 * 5 / 10))
    assert discounts(np.array([1, 1, 1])) == (0.5, 1.0, 1.5)
    # Three-fold n-grams outnumber two-fold ones so far that the estimate would add to a count of 2.
    assert discounts(np.repeat([1, 2, 3], [40, 2, 20])) == (0.5, 1.0, 1.5)


def test_large_ids_do_not_collide():
    vocab = 2**21
    last = vocab - 1
    training = np.array([0, last, last - 1, last, last - 1, last, 1, 2])
    model = TrigramCounts.of(training, vocab)
    seen, unseen = model.probability(pack(np.array([last, 1]), np.array([last - 1, 2]), np.array([last, 3])))
    assert seen > 0.5 and 0 < unseen < 1e-3


@pytest.mark.parametrize("score", [unigram_bits_per_byte, trigram_bits_per_byte])
@pytest.mark.parametrize(
    ("training", "document", "vocab", "utf8_bytes", "message"),
    [
        ([0, 1, 9], [1], 9, 1, "token ids 0 to 9 in a vocabulary of 9"),
        ([0, 1], [9], 9, 1, "token ids 0 to 9"),
        ([0, -1], [1], 9, 1, "token ids -1 to 0"),
        ([0, 1], [1, 0, 1], 9, 1, "boundary"),
        ([0, 1], [1], 9, 0, "0 bytes"),
        ([0, 1], [1], 2**21 + 1, 1, "vocabulary of 2097153"),
    ],
)
def test_what_cannot_be_counted_is_refused(score, training, document, vocab, utf8_bytes, message):
    with pytest.raises(ValueError, match=message):
        score(np.array(training), [np.array(document)], vocab, utf8_bytes)
