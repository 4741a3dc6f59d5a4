"""Reading text from files: what is kept byte for byte, and what is refused with which line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pippin.data.corpus import open_corpus
from pippin.data.documents import documents_sha256
from pippin.data.files import MAX_PIECE_BYTES, cut_text
from pippin.errors import PippinError


def jsonl(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def refusal(spec: object) -> str:
    with pytest.raises(PippinError) as caught:
        open_corpus(str(spec))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_text_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    raw = "One\r\n\r\ntwo\u2028 \u00a0three\n\n\n".encode() * 3000
    path = tmp_path / "book.txt"
    path.write_bytes(raw)
    corpus = open_corpus(str(path))
    assert "".join(document.text for document in corpus.documents).encode() == raw
    assert corpus.name == "book.txt"
    assert len({document.group for document in corpus.documents}) == len(corpus.documents) > 10


def test_only_a_byte_order_mark_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "bom.md"
    path.write_bytes(b"\xef\xbb\xbfHello \xef\xbb\xbfthere")
    assert [document.text for document in open_corpus(str(path)).documents] == ["Hello \ufeffthere"]


@given(
    st.lists(st.sampled_from(["a", "é", "雨", "🍎", " ", "\n", "\n\n", "\r\n\r\n", "word " * 50, "x" * 700]))
)
def test_cut_text_loses_nothing(parts: list[str]) -> None:
    text = "".join(parts)
    pieces = cut_text(text)
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode()) <= MAX_PIECE_BYTES for piece in pieces[:-1])


def test_cuts_fall_at_blank_lines_else_newlines_else_characters() -> None:
    paragraphs = ("line\n" * 200 + "\n") * 60
    assert all(piece.endswith("\n\n") for piece in cut_text(paragraphs))
    assert all(piece.endswith("\n") for piece in cut_text("a line of text\n" * 9000))
    pieces = cut_text("雨" * 60_000)
    assert len(pieces) > 3
    assert set("".join(pieces)) == {"雨"}


def test_folder_is_read_in_order_of_the_relative_path(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "z.txt").write_text("zet")
    (tmp_path / "a.MD").write_text("ah")
    (tmp_path / "skip.csv").write_bytes(b"\0\xff")
    (tmp_path / "empty.txt").write_text(" \n")
    jsonl(tmp_path / "c.jsonl", {"text": "one"}, {"text": "two", "id": 7}, {"text": "three", "group": "g"})
    documents = open_corpus(str(tmp_path)).documents
    assert [(d.id, d.group, d.text) for d in documents] == [
        ("a.MD", "a.MD", "ah"),
        ("b/z.txt", "b/z.txt", "zet"),
        ("c.jsonl:000000001", "c.jsonl:000000001", "one"),
        ("c.jsonl:7", "c.jsonl:7", "two"),
        ("c.jsonl:000000003", "g", "three"),
    ]


def test_folder_with_one_text_file_is_cut_like_the_file(tmp_path: Path) -> None:
    (tmp_path / "only.txt").write_text("A paragraph.\n\n" * 1000)
    assert len(open_corpus(str(tmp_path)).documents) > 10


def test_moving_a_corpus_changes_nothing(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "book.txt").write_text("A paragraph.\n\n" * 1000)
    here, there = (open_corpus(str(tmp_path / place / "book.txt")) for place in ("here", "there"))
    assert here == there


def test_jsonl_keeps_line_separators_and_skips_lines_without_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a\xe2\x80\xa8b"}\r\n\n{"text": "  "}\n{"text": "c\\u0000", "id": "x"}')
    documents = open_corpus(str(path)).documents
    assert [(d.id, d.text) for d in documents] == [("000000001", "a\u2028b"), ("x", "c\0")]


def test_corpus_hash_sees_every_field_and_no_order(tmp_path: Path) -> None:
    records: list[dict[str, str]] = [
        {"text": "a", "id": "1", "group": "g"},
        {"text": "b", "id": "2", "group": "g"},
    ]

    def sha256(*records: dict[str, str]) -> str:
        return documents_sha256(open_corpus(str(jsonl(tmp_path / "x.jsonl", *records))).documents)

    first = sha256(*records)
    assert sha256(*records[::-1]) == first
    assert all(sha256({**records[0], key: "new"}, records[1]) != first for key in ("text", "id", "group"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"text": "a"', "not valid JSON"),
        ('["a"]', "not a JSON object"),
        ('{"txt": "a"}', 'no "text"'),
        ('{"text": null}', 'no "text"'),
        ('{"text": 3}', '"text" is not a string'),
        ('{"text": "a", "id": [1]}', '"id" is not a string'),
        ('{"text": "a", "group": true}', '"group" is not a string'),
        ('{"text": "abc\\ud83c"}', "surrogate pair at character 3"),
        ("[" * 100_000, "not valid JSON"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "not valid JSON"),
    ],
)
def test_bad_jsonl_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "good"}\n' + line + "\n")
    message = refusal(path)
    assert message.startswith(f"{path}:2: ")
    assert said in message


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"plain\0text", "binary file: NUL at byte 5"),
        (b"caf\xe9 au lait", "not UTF-8: invalid continuation byte at byte 3"),
        (b"\xff\xfea\0", "NUL at byte 3"),
        (b"half \xe9\x9b", "at byte 5"),
        (b"", "no text"),
        (b"\xef\xbb\xbf \n\t", "no text"),
    ],
)
@pytest.mark.parametrize("name", ["bad.txt", "bad.jsonl", "bad.bin", "folder/bad.md"])
def test_binary_or_empty_file_is_refused(tmp_path: Path, raw: bytes, said: str, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    spec = path.parent if "/" in name else path
    message = refusal(spec)
    assert said in message
    assert message.startswith(str(spec if said == "no text" else path))


def test_missing_or_unusable_path(tmp_path: Path) -> None:
    assert 'no corpus "sout", and no such file or folder (did you mean "sotu"?)' in refusal("sout")
    assert "no such file or folder" in refusal(tmp_path / "none.txt")
    assert "no such file or folder" in refusal("")
    assert "no such file or folder" in refusal("a\0b")
    assert "File name too long" in refusal("a" * 5000)
    assert "has no .txt, .md, .jsonl file" in refusal(tmp_path)
    assert "neither a file nor a folder" in refusal("/dev/zero")
