"""What general compressors and plain counts reach on the held-out text, to set the model's score beside."""

from __future__ import annotations

from dataclasses import dataclass

from pippin.assay.compressors import xz_bits_per_byte, xz_primed_bits_per_byte, zstd_bits_per_byte
from pippin.assay.ngrams import trigram_bits_per_byte, unigram_bits_per_byte
from pippin.data.dataset import Dataset
from pippin.train.observer import Observer

# The counts hold the training stream in memory, some 45 bytes a token; beyond this they are left out.
MAX_COUNTED_TOKENS = 100_000_000

MEANING = (
    "Bits per byte of text that none of them saw: xz and zstd start from nothing, can only use what repeats "
    "within this text and do worse the shorter it is, while the model, the primed xz and the counts have "
    "read the training text; so the distance to xz says that the model learnt the language of this corpus, "
    "and not that it is a good model or a practical compressor."
)


@dataclass(frozen=True)
class References:
    """Bits per UTF-8 byte of the held-out text. `unknown` maps a field that is None to its reason."""

    xz: float
    zstd: float
    xz_primed: float | None
    unigram: float | None
    trigram: float | None
    unknown: dict[str, str]


def reference_scores(dataset: Dataset, observer: Observer) -> References:
    """Scores the validation split of a dataset, about a second for each megabyte of training text."""
    observer.phase("scoring xz and zstd on the held-out text")
    text = dataset.text("validation")
    xz, zstd = xz_bits_per_byte(text), zstd_bits_per_byte(text)
    unigram, trigram, why = _counts(dataset, observer)
    if dataset.manifest.splits.train.tokens > MAX_COUNTED_TOKENS:
        why["xz_primed"] = why["unigram"]
        return References(xz, zstd, None, unigram, trigram, why)
    observer.phase("scoring xz after the training text")
    primed = xz_primed_bits_per_byte(dataset.text("train"), text)
    return References(xz, zstd, primed.bits_per_byte, unigram, trigram, why)


def _counts(dataset: Dataset, observer: Observer) -> tuple[float | None, float | None, dict[str, str]]:
    tokens, held_out = dataset.tokens("train"), dataset.manifest.splits.validation
    if len(tokens) > MAX_COUNTED_TOKENS:
        why = f"the training split has more than {MAX_COUNTED_TOKENS:,} tokens: left out to save memory"
        return None, None, {"unigram": why, "trigram": why}
    observer.phase("scoring counts of one and of three tokens")
    stream, size = tokens[:], dataset.vocab_size
    unigram = unigram_bits_per_byte(stream, dataset.documents("validation"), size, held_out.utf8_bytes)
    trigram = trigram_bits_per_byte(stream, dataset.documents("validation"), size, held_out.utf8_bytes)
    return unigram, trigram, {}
