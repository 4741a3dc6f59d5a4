"""A part imports only parts on floors below it, and what needs no JAX does not import it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def house(root: Path, tmp_path: Path) -> Path:
    """A copy of the package and of the contracts, to break."""
    shutil.copytree(root / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("importlinter", reason="needs import-linter: pip install 'pippin[dev]'")
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as run; run()",
    ]
    # First on the path, so that the copy is linted and not what is installed.
    environment = {**os.environ, "PYTHONPATH": str(house / "src"), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"], cwd=house, env=environment, capture_output=True, text=True
    )


def test_the_house_stands(house: Path) -> None:
    result = lint(house)
    assert result.returncode == 0, result.stdout
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("data/permutation.py", "import pippin.report.units", "floors below"),
        ("errors.py", "import pippin.storage", "floors below"),
        ("train/ledger.py", "from pippin.assay import timing", "floors below"),
        ("job.py", "from pippin.train import schedule", "floors below"),
        ("catalog/peaks.py", "import jax", "never need JAX"),
        ("models/counts.py", "from pippin.models import attention", "never need JAX"),
    ],
)
def test_a_broken_import_is_caught(house: Path, module: str, line: str, contract: str) -> None:
    path = house / "src/pippin" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(house)
    assert result.returncode != 0
    broken = [text for text in result.stdout.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken), result.stdout


def test_a_part_without_a_floor_is_caught(house: Path) -> None:
    (house / "src/pippin/attic.py").write_text('"""A part that no contract knows."""\n')
    assert lint(house).returncode != 0


WithoutJax = Callable[..., subprocess.CompletedProcess[str]]


def test_facts_jobs_and_reports_import_without_jax(without_jax: WithoutJax) -> None:
    code = """
import importlib, pkgutil
import pippin.catalog, pippin.data, pippin.plan, pippin.report
names = ["pippin.job", "pippin.errors", "pippin.storage"]
names += [f"pippin.models.{name}" for name in ("config", "counts", "presets", "parameters")]
for part in (pippin.catalog, pippin.data, pippin.plan, pippin.report):
    names += [module.name for module in pkgutil.walk_packages(part.__path__, part.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
    result = without_jax(code=code)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 30


def test_the_refusal_refuses(without_jax: WithoutJax) -> None:
    assert "must not be needed here" in without_jax(code="import pippin.train.step").stderr


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["assay"],
        ["train"],
        ["sample"],
        ["catalog"],
        ["claims"],
        ["plan"],
        ["export"],
        ["import"],
        ["score"],
        ["validate"],
        ["calibrate"],
        ["compare"],
        ["report"],
        ["check"],
    ],
)
def test_help_needs_no_jax(verb: list[str], without_jax: WithoutJax) -> None:
    result = without_jax(*verb, "--help")
    assert result.returncode == 0, result.stderr
    assert "--help" in result.stdout


def test_validate_runs_without_jax(root: Path, without_jax: WithoutJax) -> None:
    result = without_jax("validate", root / "src/pippin/plan/data/published.csv", "--json")
    assert result.returncode == 0, result.stderr
    assert '"in_sample": true' in result.stdout
