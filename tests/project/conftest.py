"""Paths of the checkout, for tests of the project itself."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return _ROOT


@pytest.fixture(scope="session")
def sources() -> list[Path]:
    """Every Python file of the package."""
    return sorted((_ROOT / "src/pippin").rglob("*.py"))


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git tracks, or neither tracks nor ignores."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=_ROOT, capture_output=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, or git is missing: there is no list of the project's files")
    return [path for name in listing.decode().split("\0") if name and (path := _ROOT / name).is_file()]


@pytest.fixture(scope="session")
def run_readme() -> ModuleType:
    """The script that runs the README's commands, as a module."""
    spec = importlib.util.spec_from_file_location("run_readme", _ROOT / "tests/project/run_readme.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name while it is executed.
    import sys

    sys.modules["run_readme"] = module
    spec.loader.exec_module(module)
    return module
