"""Byte-level BPE: trained on the training split, the same for the same text, lossless on any text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pippin.errors import PippinError, explained

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

BOUNDARY = "<|boundary|>"
"""Stands before every document; in text it is ordinary characters, never this token."""
BOUNDARY_ID = 0
MIN_VOCAB_SIZE = 257
FORMAT_VERSION = 1
"""Raised when the same text and size would give another tokenizer."""

# The split of GPT-4's cl100k_base (words with the space or mark before them, punctuation, line ends),
# with numbers in groups of two digits, which spends fewer tokens of a small vocabulary on numbers.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# A cut after a newline that a visible ASCII character follows never changes the split: no alternative of
# PATTERN goes on from a newline to such a character, a run of spaces that ends in a newline is one match
# whatever follows, and nothing looks back. Long texts are encoded in pieces of about this many characters,
# which took 0.8 s instead of 3.3 s on 6 MB, on two cores.
_SAFE_CUT = re.compile(r"\n(?=[!-~])")
_PIECE_CHARACTERS = 8 << 10
_BATCH_CHARACTERS = 4 << 20


def check_vocab_size(vocab_size: int) -> None:
    """Raises PippinError where a byte-level tokenizer cannot be that small."""
    if vocab_size < MIN_VOCAB_SIZE:
        what = f"vocab_size must be at least {MIN_VOCAB_SIZE} (256 bytes and the boundary), not {vocab_size}"
        raise PippinError(what)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Trains a BPE of at most `vocab_size` tokens: `BOUNDARY` (id 0), the 256 bytes, then merges.

    Raises:
        PippinError: `vocab_size` is below 257.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    check_vocab_size(vocab_size)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOUNDARY],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((piece for text in texts for piece in cut_safely(text)), trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Reads a `tokenizer.json`.

    Raises:
        PippinError: it cannot be read, is not byte-level, or has no boundary (see `boundary_id`).
    """
    with explained(path):
        raw = path.read_bytes()
    return parse_tokenizer(raw, path)


def parse_tokenizer(raw: bytes, where: Path) -> Tokenizer:
    """The tokenizer whose JSON is `raw`; `where` is for the error. Raises as `load_tokenizer`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(raw.decode())
    except Exception as error:  # The library raises bare Exception.
        raise PippinError(f"not a tokenizer: {error}", where=where) from error
    try:
        boundary_id(tokenizer)
        token_bytes(tokenizer)
    except LookupError as error:
        raise PippinError(f"the tokenizer {error.args[0]}", where=where) from error
    # Not stored in the file: without it the text "<|boundary|>" would become the token.
    tokenizer.encode_special_tokens = True
    return tokenizer


def boundary_id(tokenizer: Tokenizer) -> int:
    """The token that stands before every document: the one that the tokenizer's own post-processor puts
    before a text (Llama 3's does so), else `BOUNDARY` as token 0.

    Raises:
        LookupError: there is neither.
    """
    with_special = tokenizer.encode("a", add_special_tokens=True).ids
    without = tokenizer.encode("a", add_special_tokens=False).ids
    if len(with_special) > len(without) and with_special[:1] != without[:1]:
        return int(with_special[0])
    if tokenizer.token_to_id(BOUNDARY) != BOUNDARY_ID:
        raise LookupError(f"puts no token before a text, and does not have {BOUNDARY} as token 0")
    return BOUNDARY_ID


def encode(tokenizer: Tokenizer, text: str) -> npt.NDArray[np.int32]:
    """Token ids of `text`, shape (n,), without a boundary before them."""
    return np.asarray(tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)


def encode_many(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[npt.NDArray[np.int32]]:
    """`encode` of each text, in order, on all cores and in bounded memory."""
    cut = cut_safely if _splits_like_ours(tokenizer) else _whole
    for batch in _batches(texts):
        pieces = [list(cut(text)) for text in batch]
        flat = [piece for some in pieces for piece in some]
        encodings = iter(tokenizer.encode_batch_fast(flat, add_special_tokens=False))
        for some in pieces:
            yield np.concatenate([np.asarray(e.ids, dtype=np.int32) for e in islice(encodings, len(some))])


def decode(tokenizer: Tokenizer, ids: npt.ArrayLike) -> str:
    """The text of `ids`. Boundaries and unknown ids say nothing; broken UTF-8 becomes U+FFFD."""
    return str(tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=True))


def vocab_size_of(tokenizer: Tokenizer) -> int:
    """One more than the largest id."""
    return 1 + max(tokenizer.get_vocab().values())


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes that each token stands for, by id; none for the boundary.

    Raises:
        LookupError: a token has a character outside the byte alphabet.
    """
    table = [b""] * vocab_size_of(tokenizer)
    byte_of = _byte_of_character()
    added = tokenizer.get_added_tokens_decoder()  # these are written as they are, not in the byte alphabet
    for token, index in tokenizer.get_vocab().items():
        try:
            table[index] = token.encode() if index in added else bytes(byte_of[c] for c in token)
        except KeyError as error:
            raise LookupError(f"is not byte-level: a token has {error}") from error
    table[boundary_id(tokenizer)] = b""
    return table


def cut_safely(text: str) -> Iterator[str]:
    """Pieces whose tokens, one after the other, are the tokens of `text` (see `_SAFE_CUT`)."""
    start = 0
    while match := _SAFE_CUT.search(text, start + _PIECE_CHARACTERS):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


def _whole(text: str) -> Iterator[str]:
    yield text


def _batches(texts: Iterable[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    num_characters = 0
    for text in texts:
        batch.append(text)
        num_characters += len(text)
        if num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _pre_tokenizer() -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _splits_like_ours(tokenizer: Tokenizer) -> bool:
    """Whether the proof of `_SAFE_CUT` holds: our pattern, and nothing that alters text before it."""
    from tokenizers import Tokenizer, models

    ours = Tokenizer(models.BPE())
    ours.pre_tokenizer = _pre_tokenizer()
    theirs, known = json.loads(tokenizer.to_str()), json.loads(ours.to_str())
    only_boundary = [token["content"] for token in theirs["added_tokens"]] == [BOUNDARY]
    plain = theirs["normalizer"] is None and theirs["model"].get("dropout") is None
    return bool(plain and only_boundary and theirs["pre_tokenizer"] == known["pre_tokenizer"])


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable character for each byte: visible Latin-1 as itself, the rest from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(b): b for b in visible} | {chr(0x100 + i): b for i, b in enumerate(hidden)}
