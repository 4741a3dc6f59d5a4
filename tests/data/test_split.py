"""Train and validation: no group and no text on both sides, and how much prose they share."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.data.corpus import Corpus, Document, split
from pippin.errors import PippinError
from pippin.job import DataTable

FRACTIONS = st.floats(min_value=0.001, max_value=0.999)

DEFAULT_FRACTION = DataTable().validation_fraction


def corpus_of(pairs: Iterable[tuple[str, str]]) -> Corpus:
    documents = tuple(Document(id=str(i), group=g, text=t) for i, (g, t) in enumerate(pairs))
    return Corpus(name="test", licence="none", source="test", documents=documents)


def groups(documents: list[Document]) -> set[str]:
    return {document.group for document in documents}


# Few texts and groups, so that duplicates and chains of them are common.
@given(
    st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.integers(0, 30).map(str)), max_size=30), FRACTIONS
)
def test_no_group_and_no_text_on_both_sides(pairs: list[tuple[str, str]], fraction: float) -> None:
    corpus = corpus_of(pairs)
    try:
        train, validation = split(corpus, fraction)
    except PippinError as error:
        assert "at least two different documents" in str(error)
        assert not can_be_split(pairs)
        return
    assert train and validation
    assert sorted(train + validation, key=lambda d: int(d.id)) == list(corpus.documents)
    assert not groups(train) & groups(validation)
    assert not {d.text for d in train} & {d.text for d in validation}


def can_be_split(pairs: list[tuple[str, str]]) -> bool:
    """Whether growing a bundle from the first document leaves any document out."""
    reached = set(pairs[:1])
    while more := {p for p in pairs if any(p[0] == q[0] or p[1] == q[1] for q in reached)} - reached:
        reached |= more
    return len(reached) < len(set(pairs))


def test_duplicates_tie_their_groups() -> None:
    pairs = [(f"group{i}", f"text {i}") for i in range(200)] + [(f"copy{i}", f"text {i}") for i in range(200)]
    train, validation = split(corpus_of(pairs), 0.5)
    assert 100 < len(validation) < 300
    assert {g.removeprefix("copy") for g in groups(train) if g.startswith("copy")} == {
        g.removeprefix("group") for g in groups(train) if g.startswith("group")
    }


def test_share_of_groups_is_near_the_fraction_and_grows_with_it() -> None:
    corpus = corpus_of((f"g{i}", f"t{i}") for i in range(2000))
    held_out = [groups(split(corpus, fraction)[1]) for fraction in (0.01, 0.05, 0.2, 0.9)]
    for fraction, some in zip((0.01, 0.05, 0.2, 0.9), held_out, strict=True):
        deviation = (2000 * fraction * (1 - fraction)) ** 0.5
        assert abs(len(some) - 2000 * fraction) < 5 * deviation
    assert held_out[0] < held_out[1] < held_out[2] < held_out[3]


def test_a_group_keeps_its_side_when_others_come() -> None:
    small = corpus_of((f"g{i}", f"t{i}") for i in range(500))
    large = corpus_of((f"g{i}", f"t{i}") for i in range(900))
    assert groups(split(small, 0.1)[1]) == groups(split(large, 0.1)[1]) & groups(list(small.documents))


def test_neither_side_is_empty() -> None:
    corpus = corpus_of([("a", "1"), ("b", "2")])
    least, most = split(corpus, 1e-9)[1], split(corpus, 1 - 1e-9)[1]
    assert groups(least) == groups(most)
    assert len(least) == 1


@pytest.mark.parametrize("pairs", [[], [("a", "1")], [("a", "1"), ("a", "2")], [("a", "1"), ("b", "1")]])
def test_nothing_to_hold_out(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(PippinError, match="at least two different documents"):
        split(corpus_of(pairs), 0.05)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(PippinError, match="validation_fraction"):
        split(corpus_of([("a", "1"), ("b", "2")]), fraction)


def word_runs(documents: Iterable[Document], length: int = 13) -> set[int]:
    """Hashes of all runs of `length` words, in small letters and without punctuation."""
    found: set[int] = set()
    for document in documents:
        words = re.findall(r"\w+", document.text.lower())
        found.update(hash(tuple(words[i : i + length])) for i in range(len(words) - length + 1))
    return found


def shared(held_out: Iterable[Document], train: Iterable[Document]) -> float:
    runs = word_runs(held_out)
    return len(runs & word_runs(train)) / len(runs)


def test_what_sotu_train_and_validation_share(sotu: Corpus) -> None:
    """At the default 0.11 % of the 13-word runs of validation occur in train.

    A larger split of 5 % takes 1980 without 1981 (both Carter), and shares 3.0 %.
    """
    train, validation = split(sotu, DEFAULT_FRACTION)
    assert shared(validation, train) < 0.005
    train, validation = split(sotu, 0.05)
    assert 0.02 < shared(validation, train) < 0.04
    rest = [document for document in validation if document.group != "1980"]
    assert shared(rest, train) < 0.005


def test_a_split_by_document_would_share_far_more(sotu: Corpus) -> None:
    """1945-2 is the radio summary of 1945-1: 60 % of its runs stand there. By year they stay together."""
    by_id = {document.id: document for document in sotu.documents}
    written, radio = by_id["1945-Roosevelt-1"], by_id["1945-Roosevelt-2"]
    assert 0.55 < shared([radio], [written]) < 0.65
    for fraction in (DEFAULT_FRACTION, 0.05, 0.3):
        train, _ = split(sotu, fraction)
        assert (written in train) == (radio in train)
    others = [document for document in sotu.documents if document.group != "1945"]
    assert shared([radio], others) < 0.02
