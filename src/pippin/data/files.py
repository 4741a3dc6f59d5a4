"""Local text as a corpus: a text file, a JSONL file, or a folder of them. Nothing but a BOM is normalised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pippin.data.documents import Corpus, Document
from pippin.errors import PippinError, explained

LICENCE = "unknown (a local file)"
SUFFIXES = (".txt", ".md", ".jsonl")
# A single file is cut into about 40 documents, so that a small one still has something to hold out.
MIN_PIECE_BYTES, MAX_PIECE_BYTES, WANTED_PIECES = 1 << 10, 32 << 10, 40

_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n[ \t\r\n]*")
_NEWLINES = re.compile(rb"\n+")


def open_path(path: Path) -> Corpus:
    """Reads a file or a folder.

    A folder gives one document per text file and per JSONL line, by relative path; other files in it are
    ignored. A text file alone (also when it is all a folder has) is cut into documents at blank lines.
    The corpus is named after the last part of the path only, so that moving it changes nothing.

    Raises:
        PippinError: missing, empty, binary, not UTF-8, or JSONL without a text; names file and place.
    """
    with explained(path):
        kind = "folder" if path.is_dir() else "file"
        files = _files_under(path) if kind == "folder" else [path]
        if kind == "file" and path.exists() and not path.is_file():
            raise PippinError("neither a file nor a folder", where=path)
    if not files:
        raise PippinError(f"the folder has no {', '.join(SUFFIXES)} file", where=path)
    documents = _alone(files[0]) if len(files) == 1 else _together(path, files)
    if not documents:
        raise PippinError("there is no text in it", where=path)
    name = _printable(path.resolve().name)
    return Corpus(name=name, licence=LICENCE, source=f"local {kind} {name}", documents=tuple(documents))


def _files_under(folder: Path) -> list[Path]:
    found = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def _alone(file: Path) -> list[Document]:
    if _is_jsonl(file):
        return list(_jsonl(file, prefix=""))
    pieces = [piece for piece in cut_text(_read_text(file)) if piece.strip()]
    return [Document(id=f"{i:06d}", group=f"{i:06d}", text=piece) for i, piece in enumerate(pieces)]


def _together(folder: Path, files: list[Path]) -> list[Document]:
    documents: list[Document] = []
    for file in files:
        name = _printable(file.relative_to(folder).as_posix())
        if _is_jsonl(file):
            documents += _jsonl(file, prefix=f"{name}:")
        elif (text := _read_text(file)).strip():
            documents.append(Document(id=name, group=name, text=text))
    return documents


def _is_jsonl(file: Path) -> bool:
    return file.suffix.lower() == ".jsonl"


def _read_text(file: Path) -> str:
    with explained(file):
        raw = file.read_bytes()
    if (offset := raw.find(b"\0")) >= 0:
        raise PippinError(f"a binary file: NUL at byte {offset}", where=file, fix="give text in UTF-8")
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        what = f"not UTF-8: {error.reason} at byte {error.start}"
        raise PippinError(what, where=file, fix="convert it to UTF-8") from error


def _jsonl(file: Path, prefix: str) -> Iterator[Document]:
    """The lines with text in them. Lacking an id a line is named by its number, lacking a group by its id."""
    # Not splitlines: U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        record = _record(line, where)
        text = _string(record, "text", where)
        if text is None:
            raise PippinError('the line has no "text"', where=where)
        name = prefix + (_string(record, "id", where) or f"{number:09d}")
        if text.strip():
            yield Document(id=name, group=_string(record, "group", where) or name, text=text)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PippinError(f"not valid JSON: {error}", where=where) from error
    if not isinstance(record, dict):
        raise PippinError("the line is not a JSON object", where=where, fix='write {"text": "..."}')
    return record


def _string(record: dict[str, Any], key: str, where: str) -> str | None:
    value = record.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and key != "text":
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise PippinError(f'"{key}" is not a string', where=where)
    if value is not None and (half := re.search("[\ud800-\udfff]", value)):
        what = f'"{key}" has half of a surrogate pair at character {half.start()}, which is no Unicode text'
        raise PippinError(what, where=where)
    return value


def cut_text(text: str) -> list[str]:
    """Pieces of at most 32 KiB whose concatenation is `text`.

    Each ends after the last blank line that fits, else after the last newline, else after a character.
    """
    raw = text.encode()
    size = min(max(len(raw) // WANTED_PIECES, MIN_PIECE_BYTES), MAX_PIECE_BYTES)
    pieces, start = [], 0
    while len(raw) - start > size:
        end = start + _cut_point(raw[start : start + size + 1])
        pieces.append(raw[start:end].decode())
        start = end
    return [*pieces, raw[start:].decode()]


def _cut_point(window: bytes) -> int:
    """Where to cut, after at least one byte and at most all but the last of the window."""
    limit = len(window) - 1
    for pattern in (_BLANK_LINES, _NEWLINES):
        ends = [match.end() for match in pattern.finditer(window) if match.end() <= limit]
        if ends:
            return ends[-1]
    # Bytes 10xxxxxx continue a UTF-8 character.
    while window[limit] & 0xC0 == 0x80:
        limit -= 1
    return limit


def _printable(name: str) -> str:
    """File names need not be UTF-8; ids must be."""
    return name.encode("utf-8", "backslashreplace").decode()
