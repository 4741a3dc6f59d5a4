"""What holds for every file: a purpose, a readable size, nothing of one machine."""

from __future__ import annotations

import ast
import re
from pathlib import Path

MOST_LINES = 360
# Folders of somebody's own machine; the file systems that Linux itself defines are fine.
PERSONAL_PATH = re.compile(r"(?<![\w.~/:-])/(?:home|root|Users|work|workspace|mnt|opt)/[\w.]")


def test_every_module_says_what_it_is_for(sources: list[Path], root: Path) -> None:
    silent = [
        str(path.relative_to(root))
        for path in sources
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(sources) > 50
    assert silent == []


def test_no_file_is_too_long_to_read(sources: list[Path], root: Path) -> None:
    lengths = {
        str(path.relative_to(root)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_nothing_names_a_folder_of_one_machine(tracked: list[Path], root: Path) -> None:
    assert PERSONAL_PATH.search("see /home/" + "someone/x")
    assert not PERSONAL_PATH.search("https://example.org/home/page and /usr/bin/env and a/work/b")
    named = {}
    for path in tracked:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        if found := PERSONAL_PATH.search(text):
            named[str(path.relative_to(root))] = found[0]
    assert named == {}
