"""Every command on the pages about the catalog and the claims runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/catalog.md", "docs/claims.md"]


def commands(page: str) -> list[str]:
    """The lines of the page's shell blocks that call pippin."""
    text = (_ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("pippin ")]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(
    page: str, here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```toml\n(.*?)^```$", (_ROOT / page).read_text(), re.MULTILINE | re.DOTALL):
        (tmp_path / "mine.toml").write_text(block)
    assert commands(page)
    for command in commands(page):
        outcome = here(*shlex.split(command)[1:])
        assert outcome.status == 0, (command, outcome.err)
        assert outcome.out, command


def test_the_example_in_python_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPPIN_CATALOG", raising=False)
    text = (_ROOT / "docs/catalog.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "H200 SXM 141GB 8 None"
    assert "7.912 USD a chip-hour: on demand, us-east-1, 2026-07-20" in lines
