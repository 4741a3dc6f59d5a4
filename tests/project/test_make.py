"""The Makefile: what it lists, what it passes on, and what it says without a Python that will do."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Make:
    """Runs make in the checkout, with a virtual environment that does not exist."""

    def run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        # These tests are themselves run by make, whose flags and variables would reach the inner one.
        environment = {"PATH": path or os.environ["PATH"], "HOME": os.environ["HOME"]}
        command = ["make", f"VENV={tmp_path}/venv", *arguments]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)

    return run


def test_make_alone_lists_every_target(root: Path, make: Make) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (root / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make (\S+) +\S", make().stdout, re.MULTILINE)
    assert sorted(listed) == sorted(phony.split())


def test_arguments_are_passed_on(make: Make, tmp_path: Path) -> None:
    commands = make("--dry-run", "assay", "ARGS=--minutes 1 --out DIR").stdout.splitlines()
    assert commands[-1] == f"{tmp_path}/venv/bin/pippin assay --minutes 1 --out DIR"
    # A run needs neither the tools for tests nor PyTorch.
    assert not any("[" in line or "torch" in line for line in commands if "install" in line)


@pytest.mark.parametrize("python", ["", "no-such-python", "false"])
def test_without_python_it_says_so_in_a_line(make: Make, python: str, tmp_path: Path) -> None:
    result = make("assay", f"PYTHON={python}")
    assert result.returncode == 2
    first, *rest = result.stderr.splitlines()
    assert first.startswith("pippin needs Python 3.11 or newer with its venv module: install it, or name it")
    assert all(line.startswith("make: ***") for line in rest)
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_passed_over(make: Make, tmp_path: Path) -> None:
    """Of the names on the path the first that will do is taken, not the first that is there."""
    for name, status in {"python3.13": 1, "python3.12": 127, "python3.11": 0}.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
    commands = make("--dry-run", "assay", path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}").stdout
    assert f"making {tmp_path}/venv with {tmp_path}/python3.11" in commands


def test_missing_versions_are_named(make: Make) -> None:
    for target, version in (("test-oldest", "3.11"), ("test-newest", "3.13")):
        result = make(target, "PYTHON_OLDEST=", "PYTHON_NEWEST=")
        assert result.returncode == 2
        assert result.stderr.startswith(f"pippin needs Python {version} with its venv module")
