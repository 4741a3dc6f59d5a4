from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.data import tokenizer as module
from pippin.data.tokenizer import (
    BOUNDARY,
    BOUNDARY_ID,
    boundary_id,
    cut_safely,
    decode,
    encode,
    encode_many,
    load_tokenizer,
    token_bytes,
    train_tokenizer,
    vocab_size_of,
)
from pippin.errors import PippinError

TEXTS = [
    f"It's the apple's year {n}.\n\nGrow — a naïve café,\r\nthen 雨 and 🍎!\n" * 400 for n in (7, 1790, 2026)
]
TOKENIZER = train_tokenizer(TEXTS, 300)
# What decides where the pattern splits: letters, digits, contractions, marks, and every kind of space.
WORDS_AND_MARKS = ["a", "Zz", "é", "雨", "7", "1790", "'s", "'", "-", "...", "!", "~", "🍎", BOUNDARY, "\0"]
SPACES = [" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u2028", "\x85", "\x0b", "\x1c"]
TRICKY = st.lists(st.sampled_from(WORDS_AND_MARKS + SPACES), max_size=60).map("".join)


def test_vocabulary() -> None:
    assert TOKENIZER.token_to_id(BOUNDARY) == 0
    assert vocab_size_of(TOKENIZER) == 300
    table = token_bytes(TOKENIZER)
    assert table[0] == b""
    assert sorted(table[1:257]) == [bytes([byte]) for byte in range(256)]
    assert all(len(token) > 1 for token in table[257:])


@pytest.mark.parametrize("vocab_size", [-1, 0, 256])
def test_too_small_a_vocabulary(vocab_size: int) -> None:
    with pytest.raises(PippinError, match=f"at least 257 .* not {vocab_size}"):
        train_tokenizer(TEXTS, vocab_size)


def test_bytes_alone_are_enough() -> None:
    tokenizer = train_tokenizer([], 257)
    text = "Grow — 雨\0"
    assert decode(tokenizer, encode(tokenizer, text)) == text
    assert len(encode(tokenizer, text)) == len(text.encode())


def test_little_text_gives_fewer_tokens_than_asked() -> None:
    assert 257 < vocab_size_of(train_tokenizer(["abc abc"], 8192)) < 270


def test_training_is_deterministic_across_processes(tmp_path: Path) -> None:
    again = train_tokenizer(iter(TEXTS), 300).to_str()
    assert again == TOKENIZER.to_str()
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    program = (
        "import json, sys; from pippin.data.tokenizer import train_tokenizer;"
        "print(train_tokenizer(json.load(open(sys.argv[1])), 300).to_str())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "texts.json")]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == json.loads(again)


@given(st.one_of(TRICKY, st.text()))
def test_lossless_on_any_text(text: str) -> None:
    ids = encode(TOKENIZER, text)
    assert ids.dtype == np.int32
    assert 0 not in ids
    assert decode(TOKENIZER, ids) == text
    assert b"".join(token_bytes(TOKENIZER)[i] for i in ids) == text.encode()


def test_boundary_in_text_is_ordinary_text(tmp_path: Path) -> None:
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    text = f"{BOUNDARY}a {BOUNDARY}{BOUNDARY}"
    trained_on_it = train_tokenizer([text * 50], 300)
    for tokenizer in (TOKENIZER, loaded, trained_on_it):
        for ids in (encode(tokenizer, text), *encode_many(tokenizer, [text])):
            assert 0 not in ids
            assert decode(tokenizer, ids) == text


def test_decode_skips_boundaries_and_unknown_ids() -> None:
    ids = encode(TOKENIZER, "apple")
    assert decode(TOKENIZER, [0, *ids, 0, 99_999]) == "apple"
    assert decode(TOKENIZER, encode(TOKENIZER, "雨")[:1]) == "\ufffd"


def words_of(text: str) -> list[str]:
    return [word for word, _ in TOKENIZER.pre_tokenizer.pre_tokenize_str(text)]


@given(TRICKY)
def test_safe_cuts_never_change_the_ids(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE_CHARACTERS", 0)
        pieces = list(cut_safely(text))
        (ids,) = encode_many(TOKENIZER, [text])
    assert "".join(pieces) == text
    assert ids.tolist() == encode(TOKENIZER, text).tolist()
    # Whatever merges another vocabulary has: the words that BPE sees are the same.
    assert [word for piece in pieces for word in words_of(piece)] == words_of(text)


def test_encode_many_is_encode_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*TEXTS, "", "short", "word\n" * 9000, TEXTS[0] * 3]
    assert len(list(cut_safely(texts[5]))) > 3
    for batch_characters in (1, 30_000, 1 << 20):
        monkeypatch.setattr(module, "_BATCH_CHARACTERS", batch_characters)
        many = list(encode_many(TOKENIZER, iter(texts)))
        assert [ids.tolist() for ids in many] == [encode(TOKENIZER, text).tolist() for text in texts]


def test_a_tokenizer_that_splits_otherwise_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sees whole texts merges across the newline: cutting there would change its ids."""
    from tokenizers import Tokenizer, pre_tokenizers

    other = Tokenizer.from_str(TOKENIZER.to_str())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    monkeypatch.setattr(module, "_PIECE_CHARACTERS", 0)
    text = "apple\nseed\norchard"
    (ids,) = encode_many(other, [text])
    assert ids.tolist() == encode(other, text).tolist()
    assert ids.tolist() != [i for piece in cut_safely(text) for i in encode(other, piece).tolist()]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    path = tmp_path / "tokenizer.json"
    with pytest.raises(PippinError, match="no such file"):
        load_tokenizer(path)
    for content in ("", "{}", TOKENIZER.to_str()[:-1], b"\xff"):
        with pytest.raises(PippinError, match="not a tokenizer") as caught:
            load_tokenizer(write(path, content))
        assert "\n" not in str(caught.value)
    with pytest.raises(PippinError, match="as token 0"):
        load_tokenizer(write(path, Tokenizer(models.BPE()).to_str()))
    words = Tokenizer(models.WordLevel({BOUNDARY: 0, "雨": 1}, unk_token=BOUNDARY))
    with pytest.raises(PippinError, match="not byte-level"):
        load_tokenizer(write(path, words.to_str()))


def with_start(token: str, *more: str) -> Any:
    """The tokenizer with special tokens added, the first of them put before every text by itself."""
    from tokenizers import AddedToken, Tokenizer, processors

    other = Tokenizer.from_str(TOKENIZER.to_str())
    other.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (token, *more)])
    other.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, other.token_to_id(token))]
    )
    return other


def test_the_boundary_is_what_the_tokenizer_puts_before_a_text(tmp_path: Path) -> None:
    assert boundary_id(TOKENIZER) == BOUNDARY_ID
    loaded = load_tokenizer(write(tmp_path / "tokenizer.json", with_start("<|start|>", "<|a 雨|>").to_str()))
    assert boundary_id(loaded) == vocab_size_of(TOKENIZER)
    assert encode(loaded, "<|start|>apple").tolist() == encode(TOKENIZER, "<|start|>apple").tolist()
    table = token_bytes(loaded)
    assert table[boundary_id(loaded)] == b""
    assert table[loaded.token_to_id("<|a 雨|>")] == "<|a 雨|>".encode()
