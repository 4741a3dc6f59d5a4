"""Fixtures that more than one part uses."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts empty file systems of so many bytes (rounded up to pages), unmounted when the test ends.

    Only root may mount; where that is refused the test is skipped with what the system said.
    """
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        folder = tmp_path / f"small_disk_{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(folder)]
        try:
            result = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("a small disk needs the command `mount`")
        if result.returncode:
            pytest.skip(f"a small disk needs the right to mount a tmpfs: {result.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        # Lazy, so that a file still open in a failed test does not leave the mount behind.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def screenshot() -> ModuleType:
    """docs/screenshot.py, whose browser the tests drive too."""
    spec = importlib.util.spec_from_file_location(
        "screenshot", Path(__file__).parents[1] / "docs" / "screenshot.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(screenshot: ModuleType) -> Iterator[Any]:
    """A headless browser, or a skip that says that there is none."""
    if screenshot.find_chromium() is None:
        pytest.skip("no Chromium or Chrome on the path, and the variable CHROMIUM names none")
    with screenshot.browser() as browser:
        yield browser
